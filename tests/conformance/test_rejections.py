"""Every broken sample is rejected, by the check that exists for its fault, naming the rule."""

from __future__ import annotations

import pytest

from keynet.testing.transport import CHECKS, Check, RuleBroken
from tests.conformance.broken.samples import SAMPLES, Sample


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.__name__)
def test_is_rejected(sample: type[Sample]) -> None:
    check = next(check for check in CHECKS if check.name == sample.rejected_by)
    with pytest.raises(RuleBroken, match=f"^{sample.rule or check.rule} "):
        check(sample.transport)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_without_a_fault_a_sample_is_sound(check: Check) -> None:
    check(Sample.transport)


def test_every_check_rejects_something() -> None:
    rejecting = {sample.rejected_by for sample in SAMPLES}
    idle = [check.name for check in CHECKS if check.name not in rejecting]
    assert idle == []
