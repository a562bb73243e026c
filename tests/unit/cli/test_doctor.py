"""`keynet doctor`: whom it asks, and what people and programs see."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from keynet.address import NodeId, SocketAddress
from keynet.discovery.checkup import Checkup, SocketCheck
from keynet.discovery.nat_behaviour import Behaviour, Filtering
from keynet.discovery.reflexive import Mapping
from keynet.errors import LookupFailed

from .conftest import Keynet

NODE = str(NodeId(bytes(32)))
SERVER, OTHER = SocketAddress("192.0.2.1", 3478), SocketAddress("192.0.2.2", 3479)
FINE = SocketCheck(("10.0.0.2",), 1 << 24, 1 << 24, False)
BEHAVIOUR = Behaviour(
    SERVER,
    SocketAddress("198.51.100.1", 9),
    0.0213,
    OTHER,
    Mapping.INDEPENDENT,
    Filtering.ADDRESS_AND_PORT,
    False,
    1472,
    (1232, 1472),
)
Servers = list[SocketAddress]


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> tuple[Servers, dict[int, Behaviour]]:
    """Which servers were asked, and what they show."""
    asked: Servers = []
    shown = {4: BEHAVIOUR}

    async def check_up(servers: Sequence[SocketAddress]) -> Checkup:
        asked.extend(servers)
        return Checkup({4: FINE}, shown)

    monkeypatch.setattr("keynet.cli.doctor.check_up", check_up)
    monkeypatch.setattr("keynet.cli.doctor.set_up_logging", lambda *_, **__: None)
    return asked, shown


Checked = tuple[Servers, dict[int, Behaviour]]


def test_people_see_findings_and_advice(keynet: Keynet, checked: Checked) -> None:
    status, out, err = keynet("doctor", "--seed", f"{NODE}@{SERVER}", "--stun", str(OTHER))
    assert status == 0
    assert "asking 192.0.2.1:3478, 192.0.2.2:3479" in err
    assert checked[0] == [SERVER, OTHER]
    for line in (
        "server    192.0.2.1:3478 answers in 21.3 ms",
        "outside   198.51.100.1:9",
        "mapping   endpoint-independent",
        "filtering address and port-dependent",
        "hairpin   no",
        "MTU       1472 bytes of UDP payload pass whole",
        "IPv6       no socket of that family can be opened",
        "- IPv4: The NAT can be punched",
    ):
        assert line in out


def test_programs_see_all_of_it(keynet: Keynet, checked: Checked) -> None:
    found = json.loads(keynet("doctor", "--stun", str(SERVER), "--json").out)
    assert found["sockets"]["ipv4"]["addresses"] == ["10.0.0.2"]
    assert found["behaviour"]["ipv4"] == {
        "server": str(SERVER),
        "answered": True,
        "mapped": "198.51.100.1:9",
        "rtt_ms": 21.3,
        "other_address": str(OTHER),
        "mapping": "endpoint-independent",
        "filtering": "address and port-dependent",
        "hairpinning": False,
        "mtu": 1472,
    }
    assert any("can be punched" in line for line in found["advice"])


def test_a_server_that_does_not_answer(keynet: Keynet, checked: Checked) -> None:
    checked[1][4] = Behaviour(SERVER)
    assert "does not answer" in keynet("doctor", "--stun", str(SERVER)).out
    found = json.loads(keynet("doctor", "--stun", str(SERVER), "--json").out)
    assert found["behaviour"]["ipv4"]["answered"] is False


def test_the_running_nodes_seeds_are_asked_when_none_is_named(
    keynet: Keynet, checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(state: object, verb: str) -> Any:
        return {"seeds": [{"seed": f"{NODE}@{SERVER}"}]}

    monkeypatch.setattr("keynet.cli.doctor.call", call)
    assert keynet("doctor", "--json").status == 0
    assert checked[0] == [SERVER]


def test_without_any_server_it_says_what_is_unknown(keynet: Keynet, checked: Checked) -> None:
    checked[1].clear()
    status, out, err = keynet("doctor")
    assert (status, err) == (0, "")
    assert "NAT       unknown" in out
    assert "name a seed with --seed" in out


def test_a_name_that_nobody_knows(
    keynet: Keynet, checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(host: str, port: int) -> list[SocketAddress]:
        if host == "gone.example":
            raise LookupFailed("gone.example is not known")
        return [SERVER]

    monkeypatch.setattr("keynet.cli.doctor.resolve_by_system", resolve)
    refused = keynet("doctor", "--stun", "gone.example:1")
    assert (refused.status, refused.out) == (2, "")
    assert "gone.example is not known" in refused.err
    both = keynet("doctor", "--stun", "gone.example:1", "--stun", "here.example:1")
    assert both.status == 0
    assert "- gone.example is not known." in both.out
