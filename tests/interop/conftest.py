"""What the interoperability tests share: their marker, and what they need to be installed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything below this directory, so that `make test` can leave it out."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.interop)


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The directory of the foreign peers that run on Node; skips where they are not installed."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if not (HERE / "node_modules/utp-native").is_dir():
        pytest.skip("tests/interop/node_modules is missing: run `make interop`")
    return HERE / "node_modules"
