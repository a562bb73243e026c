"""`keynet status --client` and `--peer`: who is behind a connection."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keynet.cli.status import _counted, _links, _rpc

from .conftest import Keynet

TUNNEL = {
    "peer": "abc",
    "remote": "[::1]:4",
    "service": 80,
    "client": "127.0.0.1:5",
    "bytes_from_peer": 6,
    "bytes_to_peer": 7,
}


@pytest.mark.parametrize("flag", ["client", "peer"])
def test_the_audit(keynet: Keynet, monkeypatch: pytest.MonkeyPatch, flag: str) -> None:
    answer: dict[str, Any] = {"to_peers": [], "from_peers": [TUNNEL]}

    def call(state: object, verb: str, **params: str) -> dict[str, Any]:
        assert (verb, params) == ("audit", {flag: "x"})
        return answer

    monkeypatch.setattr("keynet.cli.status.call", call)
    assert keynet("status", f"--{flag}", "x").out == (
        "from abc at [::1]:4, service 80, client 127.0.0.1:5, 6 bytes in, 7 out\n"
    )
    assert json.loads(keynet("status", f"--{flag}", "x", "--json").out) == answer
    answer["from_peers"] = []
    assert keynet("status", f"--{flag}", "x").out == "none\n"


def test_a_file_is_no_state_directory(keynet: Keynet, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = keynet("status", "--state", str(tmp_path / "file"))
    assert refused.status == 2
    assert "is a file: name a directory with --state" in refused.err
    assert refused.err.count("\n") == 1


@pytest.mark.parametrize(
    ("allow", "told"),
    [("any", "callable by everybody"), ([], "nobody but for public"), (["abc=x"], "by abc=x")],
)
def test_what_peers_may_call(allow: Any, told: str) -> None:
    rpc = {
        "services": {"greeter": 4, "keynet": 2},
        "allow": allow,
        "running": 3,
        "bindings": {"grpc": {"taken": 7, "refused": 1}},
    }
    lines = list(_rpc(rpc))
    assert lines[0] == "greeter (4), keynet (2)"
    assert told in lines[1]
    assert lines[2:] == ["grpc: 7 calls taken, 1 refused", "3 running"]


def test_links_and_what_signalling_counted() -> None:
    path = {
        "remote": "192.0.2.9:4",
        "in_use": True,
        "relayed": False,
        "rtt_ms": 12.0,
        "mtu": 1472,
        "silent_seconds": 3.0,
    }
    link = {"peer": "abc", "alarmed": False, "punching": False, "paths": [path]}
    assert list(_links({"links": [link], "link_count": 3})) == [
        "abc",
        "  192.0.2.9:4: in use, direct, round trip 12.0 ms, MTU 1472, heard 3 s ago",
        "and 2 more",
    ]
    counted = {"stun": {"forged pings": 2, "a": 1}, "offers": {}}
    assert list(_counted(counted)) == ["stun: a 1, forged pings 2"]
