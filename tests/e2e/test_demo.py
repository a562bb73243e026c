"""`keynet demo`: four real processes, four kinds of call, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("grpc")


def start(tmp_path: Path, *flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "keynet", "demo", "--json", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_the_main_job(tmp_path: Path) -> None:
    out, err = start(tmp_path).communicate(timeout=50)
    steps = {step["step"]: step for step in map(json.loads, out.splitlines())}
    assert err == ""
    assert list(steps) == [
        "identities",
        "server",
        "server_node",
        "client_node",
        "connect",
        "calls",
        "round_trips",
        "traffic",
        "end",
    ]
    assert steps["connect"]["dialed"]["peer"] == steps["identities"]["server"]
    assert steps["connect"]["answered"]["peer"] == steps["identities"]["client"]
    calls = {call["kind"]: call["answer"] for call in steps["calls"]["calls"]}
    assert calls == {
        "unary": "'hello keynet'",
        "server-streaming": "['u', 'T', 'P']",
        "client-streaming": "'one socket for everything'",
        "duplex": "['PING!', 'PONG!']",
    }
    assert steps["traffic"]["tunnel"]["peer"] == steps["identities"]["client"]
    assert set(steps["end"]["statuses"].values()) == {0}
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_cleans_up(tmp_path: Path) -> None:
    with start(tmp_path) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        pids = []
        for line in demo.stdout:
            step = json.loads(line)
            pids += [step["process"]] if "process" in step else []
            if step["step"] == "server_node":
                break
        demo.send_signal(signal.SIGINT)
        assert demo.wait(30) == 130
        assert "Traceback" not in demo.stderr.read()
    assert len(pids) == 2
    assert all(map(gone, pids))
    assert list(tmp_path.iterdir()) == []


def test_a_transport_that_does_not_exist(tmp_path: Path) -> None:
    demo = start(tmp_path, "--transport", "pigeon")
    _, err = demo.communicate(timeout=50)
    assert demo.returncode == 2
    assert "no installed distribution offers the transport 'pigeon'" in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
