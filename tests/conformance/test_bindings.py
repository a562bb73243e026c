"""Every installed RPC binding, found as users find it, keeps every rule."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from keynet import plugins
from keynet.rpc.api import GROUP
from keynet.testing.pytest_plugin import BindingConformance
from keynet.testing.rpc import CHECKS, BindingFactory, Check, NotApplicable, RuleBroken
from keynet.testing.rpc.simulated import over_utp
from tests.conformance.broken.binding_samples import SAMPLES, LeaksATask
from tests.conformance.broken.bindings import Sample

pytestmark = pytest.mark.timeout(180)
"""A busy machine takes half a minute for 10,000 calls through two proxies."""


class TestJsonrpc(BindingConformance):
    @pytest.fixture
    def binding_factory(self) -> BindingFactory:
        return plugins.load(GROUP, "jsonrpc")


class TestGrpc(BindingConformance):
    @pytest.fixture
    def binding_factory(self) -> BindingFactory:
        pytest.importorskip("grpc")
        return plugins.load(GROUP, "grpc")

    @pytest.fixture
    def sockets(self) -> bool:
        return True


@pytest.mark.parametrize("check", CHECKS[:7], ids=lambda check: check.name)
def test_the_same_checks_run_over_the_proxies(check: Check) -> None:
    check(plugins.load(GROUP, "framed"), sockets=True)


@pytest.mark.parametrize("binding", ["jsonrpc", "framed"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: f"{check.rule}-{check.name}")
def test_the_same_holds_over_utp(check: Check, binding: str) -> None:
    if binding == "framed" and check.rule == "R-43":
        pytest.skip("a stream for each call is 10,000 TLS handshakes")
    try:
        check(plugins.load(GROUP, binding), pairing=over_utp)
    except NotApplicable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.__name__)
def test_is_rejected(sample: type[Sample]) -> None:
    check = next(check for check in CHECKS if check.name == sample.rejected_by)
    with pytest.raises(RuleBroken, match=f"^{check.rule} "):
        check(sample)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_without_a_fault_a_sample_is_sound(check: Check) -> None:
    """It is the binding of plugins/keynet-framed, which is checked with it."""
    check(Sample)


def test_every_check_rejects_something() -> None:
    rejecting = {sample.rejected_by for sample in SAMPLES}
    assert [check.name for check in CHECKS if check.name not in rejecting] == []


def test_what_nobody_would_wait_for_needs_virtual_time() -> None:
    slow = [check for check in CHECKS if check.virtual_time]
    assert slow
    for check in slow:
        with pytest.raises(NotApplicable, match=f"{check.rule}: .* virtual time"):
            check(Sample, sockets=True)


def test_a_task_is_not_left_behind_in_real_time_either() -> None:
    check = next(check for check in CHECKS if check.name == LeaksATask.rejected_by)
    with pytest.raises(RuleBroken, match="left behind"):
        check(LeaksATask, sockets=True)


def test_rules_are_numbered_once() -> None:
    numbers = [check.rule for check in CHECKS]
    assert len(set(numbers)) == len(numbers)
    assert numbers == sorted(numbers)


def test_the_guide_states_every_rule() -> None:
    guide = Path(__file__).parents[2] / "docs" / "writing-a-plugin.md"
    stated = re.findall(r"^- \*\*(R-\d\d)\*\* ", guide.read_text(), re.MULTILINE)
    assert stated == [check.rule for check in CHECKS]
