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


def test_rpc_greeter() -> None:
    pytest.importorskip("grpc")
    said = run("rpc_greeter.py").splitlines()
    calls = [
        " unary: hello node A",
        " server stream: [1, 2, 3]",
        " client stream: 6",
        " duplex: one -> ONE",
        " duplex: two -> TWO",
        " refused: INVALID_ARGUMENT nobody has no name",
    ]
    assert said == ["over jsonrpc:", *calls, "over grpc:", *calls]


def test_the_configuration_file() -> None:
    config = read(EXAMPLES / "keynet.toml", {})
    assert len(config.expose) == 2
    assert config.transport_option == (("congestion", "bbr"),)


def test_every_example_is_run_here() -> None:
    names = {path.name for path in EXAMPLES.iterdir() if path.is_file()}
    assert names == {"unidirectional.py", "bidirectional.py", "rpc_greeter.py", "keynet.toml"}
