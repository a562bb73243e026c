"""Running the keynet command inside the test's process."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from keynet.cli import main


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


Keynet = Callable[..., Outcome]


@pytest.fixture
def keynet(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Keynet:
    """`keynet("run", "--json")` gives the exit status and what was printed."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*args: str) -> Outcome:
        with pytest.raises(SystemExit) as ended:
            main(args)
        code = ended.value.code
        captured = capsys.readouterr()
        return Outcome(code if isinstance(code, int) else 0, captured.out, captured.err)

    return run
