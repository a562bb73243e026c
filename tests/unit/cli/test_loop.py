"""Commands run on uvloop where there is one, and as well without."""

from __future__ import annotations

import asyncio
import sys

import pytest

from keynet.cli import loop


async def module_of_loop() -> str:
    await asyncio.sleep(0)
    return type(asyncio.get_running_loop()).__module__


def test_runs_on_uvloop_where_it_is_installed() -> None:
    pytest.importorskip("uvloop", reason="uvloop is not installed")
    assert loop.run(module_of_loop()) == "uvloop"


def test_runs_on_asyncio_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop.run(module_of_loop()).startswith("asyncio")
