"""The lab as a fixture, and why it is skipped where it cannot be built."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.natlab.lab import Lab, obstacle


@pytest.fixture(scope="session")
def why_not() -> str | None:
    """Why there can be no lab on this machine."""
    return obstacle()


@pytest.fixture(autouse=True)
def possible(request: pytest.FixtureRequest) -> None:
    """Skip what needs the lab where there can be none. The rest of this directory runs anywhere."""
    if request.node.get_closest_marker("natlab"):
        reason = request.getfixturevalue("why_not")
        if reason is not None:
            pytest.skip(reason)


@pytest.fixture
def lab(possible: None) -> Iterator[Lab]:
    """An empty lab without delays."""
    with Lab() as lab:
        yield lab
