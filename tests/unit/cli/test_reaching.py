"""`keynet ping`, `why`, and the part of `status` about ways: what people and programs see."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keynet.address import NodeId
from keynet.cli.reaching import link_lines, seed_lines
from keynet.errors import ConnectError, KeynetError

from .conftest import Keynet

NOBODY = str(NodeId(bytes(32)))
PATH = {
    "remote": "192.0.2.9:4",
    "in_use": True,
    "relayed": False,
    "rtt_ms": 12.34,
    "mtu": 1472,
    "silent_seconds": 3.2,
    "observed": None,
}
LINK: dict[str, Any] = {"peer": NOBODY, "alarmed": False, "punching": False, "paths": [PATH]}
SEED = {"seed": f"{NOBODY}@seed.example:1", "registered": True, "observed": "x:5", "error": None}
PINGED = {
    "peer": NOBODY,
    "remote": "192.0.2.9:4",
    "relayed": False,
    "opened_ms": None,
    "punched": False,
    "link_ms": 10.0,
    "rpc_ms": 20.0,
    "rpc_error": None,
}
Answers = list[Any]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """What the node answers, one request after another; an exception is raised."""
    queue: Answers = []

    def call(state: Path, verb: str, timeout: float, **params: Any) -> Any:
        assert params["node_id"] == NOBODY
        answer = queue.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr("keynet.cli.ping.call", call)
    monkeypatch.setattr("keynet.cli.why.call", call)
    monkeypatch.setattr("keynet.cli.ping.time.sleep", lambda _: None)
    return queue


class TestPing:
    def test_the_first_tells_how_the_path_came_about(
        self, keynet: Keynet, answers: Answers
    ) -> None:
        first = {**PINGED, "opened_ms": 812.3, "punched": True}
        answers += [first, {**PINGED, "link_ms": 30.0, "rpc_ms": 60.0}]
        status, out, _ = keynet("ping", NOBODY, "-c", "2")
        assert status == 0
        assert out.splitlines() == [
            "192.0.2.9:4 (direct), punched and connected first, in 812 ms, link 10.0 ms, "
            "call 20.0 ms",
            "192.0.2.9:4 (direct), link 30.0 ms, call 60.0 ms",
            "2 of 2 answered",
            "link round trip 10.0 / 20.0 / 30.0 ms (least, mean, most)",
            "call round trip 20.0 / 40.0 / 60.0 ms (least, mean, most)",
        ]

    def test_ctrl_c_ends_it_with_a_summary(self, keynet: Keynet, answers: Answers) -> None:
        answers += [PINGED, KeyboardInterrupt()]
        status, out, _ = keynet("ping", NOBODY)
        assert status == 0
        assert "1 of 2 answered" in out

    def test_status_1_when_nothing_answered(self, keynet: Keynet, answers: Answers) -> None:
        silent = {**PINGED, "link_ms": None, "rpc_ms": None, "rpc_error": "no time"}
        answers += [KeynetError("no seed\x1b[31m knows it"), silent]
        status, out, err = keynet("ping", NOBODY, "-c", "2")
        assert status == 1
        assert err == f"keynet: keynet why {NOBODY} tells what was tried\n"
        assert out.splitlines() == [
            "not reached: no seed?[31m knows it",
            "192.0.2.9:4 (direct), no pong, no answer: no time",
            "0 of 2 answered",
        ]

    def test_json(self, keynet: Keynet, answers: Answers) -> None:
        answers += [PINGED, KeynetError("lost")]
        lines = [
            json.loads(line)
            for line in keynet("ping", NOBODY, "-c", "2", "--json").out.splitlines()
        ]
        assert lines == [
            {"event": "ping", "error": None, **PINGED},
            {"event": "ping", "error": "lost"},
            {
                "event": "summary",
                "sent": 2,
                "answered": 1,
                "link_ms": {"min": 10.0, "mean": 10.0, "max": 10.0},
                "rpc_ms": {"min": 20.0, "mean": 20.0, "max": 20.0},
            },
        ]

    def test_without_a_node_it_ends_at_once(self, keynet: Keynet, answers: Answers) -> None:
        answers.append(ConnectError("no node is running"))
        status, out, err = keynet("ping", NOBODY)
        assert (status, out) == (1, "")
        assert "no node is running" in err

    def test_a_wrong_id(self, keynet: Keynet, answers: Answers) -> None:
        assert keynet("ping", "nobody").status == 2


WHY: dict[str, Any] = {
    "node_id": NOBODY,
    "connected": False,
    "trouble": "no answer",
    "link": LINK,
    "attempt": {
        "seconds_ago": 4.2,
        "result": "no answer from 192.0.2.9:4 in 3 attempts",
        "addresses": [
            {"kind": "host", "address": "10.0.0.1:4", "fate": "not probed", "pings": 0,
             "rtt_ms": None, "detail": "no socket"},
            {"kind": "reflexive", "address": "192.0.2.9:4", "fate": "answered", "pings": 2,
             "rtt_ms": 7.0, "detail": None},
        ],
    },
    "seeds": [SEED],
    "mapping": {"ipv4": "endpoint-independent", "ipv6": "unknown"},
    "advice": ["Do this.", "Or [that]."],
}  # fmt: skip


def test_why(keynet: Keynet, answers: Answers) -> None:
    answers.append(WHY)
    assert keynet("why", NOBODY).out.splitlines() == [
        "not connected",
        "  no answer",
        "paths",
        "  192.0.2.9:4: in use, direct, round trip 12.3 ms, MTU 1472, heard 3 s ago",
        "tried 4 s ago: no answer from 192.0.2.9:4 in 3 attempts",
        "  host      10.0.0.1:4: not probed, no socket",
        "  reflexive 192.0.2.9:4: answered, in 7.0 ms, 2 pings",
        "seeds",
        f"  {NOBODY}@seed.example:1",
        "    registered, seen as x:5",
        "mapping of this node's NAT: ipv4 endpoint-independent, ipv6 unknown",
        "- Do this.",
        "- Or [that].",
    ]


def test_why_while_it_is_being_tried(keynet: Keynet, answers: Answers) -> None:
    answers.append(WHY | {"link": {**LINK, "punching": True}})
    assert "being tried: no answer" in keynet("why", NOBODY).out


def test_why_of_a_peer_of_which_little_is_known(keynet: Keynet, answers: Answers) -> None:
    nothing = {"trouble": None, "link": None, "attempt": None, "seeds": [], "connected": True}
    answers += [WHY | nothing] * 2
    assert keynet("why", NOBODY).out.splitlines()[:2] == [
        "connected",
        "mapping of this node's NAT: ipv4 endpoint-independent, ipv6 unknown",
    ]
    assert json.loads(keynet("why", NOBODY, "--json").out) == WHY | nothing


def test_links_in_words() -> None:
    standby = {**PATH, "in_use": False, "rtt_ms": None, "relayed": True}
    lines = list(link_lines({**LINK, "alarmed": True, "paths": [standby, PATH]}))
    assert lines[0].endswith("heard 3 s ago, misses a pong")
    assert lines[1] == "192.0.2.9:4: standby, relayed, MTU 1472, heard 3 s ago"
    assert list(link_lines({**LINK, "paths": []})) == ["no path"]
    assert list(link_lines({**LINK, "paths": [], "punching": True})) == ["being punched"]


def test_seeds_in_words() -> None:
    away = {**SEED, "registered": False, "observed": None}
    assert list(seed_lines(away))[1] == "  not registered: being asked"
    assert list(seed_lines({**away, "error": "silent"}))[1] == "  not registered: silent"
