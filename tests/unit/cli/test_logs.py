"""The log on standard error."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from keynet.cli.logs import MOST, set_up_logging

HOSTILE = "\x1b[2J\x9b31m" + "x" * 1_000_000 + " said the peer"


@pytest.fixture(autouse=True)
def root() -> Iterator[None]:
    """Put the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []  # which basicConfig would close
    yield
    root.handlers, root.level = handlers, level


def log_what_fails() -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logging.getLogger("test").exception("a call failed")


@pytest.mark.parametrize("as_json", [False, True])
def test_what_peers_say_is_bounded_and_no_command_to_a_terminal(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    set_up_logging("info", as_json=as_json)
    log_what_fails()
    text = capsys.readouterr().err
    assert len(text) < MOST + 1000
    assert all(c.isprintable() or c == "\n" for c in text)
    assert "a call failed" in text
    assert "said the peer" in text
    if as_json:
        assert json.loads(text)["exception"].startswith("Traceback (most recent call last):\n")


def test_only_what_is_as_grave_as_asked_is_logged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up_logging("warning", as_json=False)
    logging.getLogger("test").info("not this")
    logging.getLogger("test").warning("but this")
    text = capsys.readouterr().err
    assert text.endswith(" WARNING test: but this\n")
    assert "not this" not in text
