"""The examples run, and the example configuration is one that is accepted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from keynet.config import read

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name], capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_unidirectional() -> None:
    pytest.importorskip("grpc")
    assert "node B got 'hello node A' from" in run("unidirectional.py")


def test_bidirectional() -> None:
    first, middle, last = run("bidirectional.py").splitlines()
    assert first == "A heard: good morning"
    assert middle.startswith("A was dialled from 127.0.0.1:")
    assert last == "B heard: and to you"


def test_the_configuration_file() -> None:
    config = read(EXAMPLES / "keynet.toml", {})
    assert len(config.expose) == 2
    assert config.transport_option == (("congestion", "bbr"),)


def test_every_example_is_run_here() -> None:
    names = {path.name for path in EXAMPLES.iterdir() if path.is_file()}
    assert names == {"unidirectional.py", "bidirectional.py", "keynet.toml"}
