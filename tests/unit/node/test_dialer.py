"""From a node id to a connection: which addresses are tried, in which order, and what fails."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest

from keynet.address import NodeId, SocketAddress
from keynet.config import StaticPeer
from keynet.errors import ConfigError, DeadlineExceeded, HandshakeFailed, LookupFailed
from keynet.node.dialer import ADDRESS_TIMEOUT, PeerDialer
from keynet.node.events import DialFailed, NodeEvent
from keynet.node.statics import MAX_ADDRESSES, Statics
from keynet.rpc.proxy.api import Target
from keynet.testing.clock import run
from keynet.udp.path import Path

PEER = NodeId(bytes(32))
OWN, OWN_BEFORE = NodeId(b"\1" * 32), NodeId(b"\2" * 32)
V4 = SocketAddress("192.0.2.1", 4)
V6 = SocketAddress("2001:db8::1", 6)


class FakeHost:
    """Dials succeed at `answers` only."""

    def __init__(self, *answers: SocketAddress) -> None:
        self.answers = answers
        self.identity = SimpleNamespace(lineage=(OWN, OWN_BEFORE))
        self.dialled: list[SocketAddress] = []
        self.live: Any = None
        self.links: dict[NodeId, Any] = {}

    def connection(self, node_id: NodeId) -> Any:
        return self.live

    async def connect(self, node_id: NodeId, remote: SocketAddress, *, transport: str) -> Any:
        self.dialled.append(remote)
        if remote not in self.answers:
            raise HandshakeFailed(f"{remote} is silent")
        return SimpleNamespace(remote=remote, transport=transport)


def dialer(
    host: FakeHost, *peers: SocketAddress, local: tuple[SocketAddress, ...] = (V4, V6)
) -> tuple[PeerDialer, list[NodeEvent]]:
    events: list[NodeEvent] = []
    static = [StaticPeer.parse(f"{PEER}@{address}") for address in peers]
    made = PeerDialer(
        host,  # type: ignore[arg-type]
        Statics(static, local),
        transport="utp",
        publish=events.append,
        deadline=15.0,
    )
    return made, events


async def test_a_given_address_is_the_only_one_tried() -> None:
    host = FakeHost(V4)
    made, _ = dialer(host, V6)
    assert (await made.connect(Target(PEER, V4))).remote == V4
    assert host.dialled == [V4]


async def test_static_addresses_are_tried_in_turn() -> None:
    host = FakeHost(V6)
    made, events = dialer(host, V4, V6)
    assert (await made.connect(Target(PEER))).remote == V6
    assert host.dialled == [V4, V6]
    assert events == []


async def test_the_last_failure_is_the_one_told() -> None:
    made, events = dialer(FakeHost(), V4, V6)
    with pytest.raises(HandshakeFailed, match=r"\[2001:db8::1\]:6 is silent"):
        await made.connect(Target(PEER))
    assert events == [DialFailed(PEER, "[2001:db8::1]:6 is silent", (V4, V6))]


async def test_addresses_of_a_family_without_a_socket_are_left_out() -> None:
    host = FakeHost(V6)
    made, _ = dialer(host, V4, V6, local=(V6,))
    await made.connect(Target(PEER))
    assert host.dialled == [V6]


async def test_so_many_addresses_and_no_more() -> None:
    many = [SocketAddress("192.0.2.9", port) for port in range(1, 50)]
    host = FakeHost()
    made, _ = dialer(host, *many)
    with pytest.raises(HandshakeFailed):
        await made.connect(Target(PEER))
    assert len(host.dialled) == MAX_ADDRESSES


async def test_a_live_connection_is_taken_and_a_dead_one_not() -> None:
    host = FakeHost(V4)
    made, _ = dialer(host, V4)
    host.live = SimpleNamespace(closing=False, closed=False)
    assert await made.connect(Target(PEER)) is host.live
    for closing, closed in ((True, False), (False, True)):
        host.live = SimpleNamespace(closing=closing, closed=closed)
        assert (await made.connect(Target(PEER))).remote == V4


def test_a_silent_address_leaves_time_for_the_next_one() -> None:
    class HalfDead(FakeHost):
        async def connect(self, node_id: NodeId, remote: SocketAddress, *, transport: str) -> Any:
            if remote == V4:
                await asyncio.sleep(15)
            return await super().connect(node_id, remote, transport=transport)

    async def program() -> None:
        made, _ = dialer(HalfDead(V6), V4, V4, V6)
        async with asyncio.timeout(2 * ADDRESS_TIMEOUT):
            assert (await made.connect(Target(PEER))).remote == V6

    run(program())


async def test_nobody_knows_the_node() -> None:
    made, events = dialer(FakeHost())
    with pytest.raises(LookupFailed):
        await made.connect(Target(PEER))
    assert len(events) == 1


async def test_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(host: str, port: int) -> list[SocketAddress]:
        raise LookupFailed(f"no address is known for {host}")

    monkeypatch.setattr("keynet.node.statics.resolve_by_system", nothing)
    made, _ = dialer(FakeHost())
    made._statics.add(StaticPeer.parse(f"{PEER}@gone.example:1"))
    with pytest.raises(LookupFailed, match=r"gone\.example"):
        await made.connect(Target(PEER))


class Silent(FakeHost):
    async def connect(self, node_id: NodeId, remote: SocketAddress, *, transport: str) -> Any:
        await asyncio.Event().wait()


def test_silence_is_told_with_the_addresses_before_the_deadline() -> None:
    async def program() -> None:
        made, events = dialer(Silent(), V4, V6)
        async with asyncio.timeout(15):
            with pytest.raises(DeadlineExceeded) as caught:
                await made.connect(Target(PEER))
        assert f"no answer from {V4}, {V6} within 14.25 s: is node {PEER} running" in str(
            caught.value
        )
        assert events == [DialFailed(PEER, str(caught.value), (V4, V6))]

    run(program())


async def test_a_dial_that_nobody_waits_for_any_more_is_told() -> None:
    made, events = dialer(Silent(), V4)
    dial = asyncio.ensure_future(made.connect(Target(PEER, V4)))
    await asyncio.sleep(0)
    dial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dial
    (event,) = events
    assert isinstance(event, DialFailed)
    assert event.tried == (V4,)
    assert str(V4) in event.reason


@pytest.mark.parametrize("node_id", [OWN, OWN_BEFORE])
async def test_its_own_id_is_said_to_be_that(node_id: NodeId) -> None:
    made, events = dialer(FakeHost())
    with pytest.raises(ConfigError, match="is this node itself"):
        await made.connect(Target(node_id, V4))
    assert len(events) == 1


async def test_a_name_that_stands_for_many(monkeypatch: pytest.MonkeyPatch) -> None:
    async def many(host: str, port: int) -> list[SocketAddress]:
        return [SocketAddress("224.0.0.1", port)]

    monkeypatch.setattr("keynet.node.statics.resolve_by_system", many)
    made, _ = dialer(FakeHost(), V4)
    with pytest.raises(ConfigError, match="multicast"):
        await made.connect(Target(PEER))


# Peers that are met.


async def test_a_path_that_is_open_is_taken_before_any_address() -> None:
    host = FakeHost(V6)
    made, _ = dialer(host, V4)
    host.links[PEER] = SimpleNamespace(path=Path(V6))
    assert (await made.connect(Target(PEER))).remote == V6
    assert host.dialled == [V6]


async def test_a_peer_without_an_address_is_met() -> None:
    host = FakeHost(V6)
    made, _ = dialer(host)
    made.meet = AsyncMock(return_value=Path(V6))
    assert (await made.connect(Target(PEER))).remote == V6
    made.meet.assert_awaited_once_with(PEER)


async def test_a_peer_whose_addresses_are_silent_is_met() -> None:
    host = FakeHost(V6)
    made, events = dialer(host, V4)
    made.meet = AsyncMock(return_value=Path(V6))
    assert (await made.connect(Target(PEER))).remote == V6
    assert host.dialled == [V4, V6]
    assert events == []


async def test_an_address_that_was_given_outright_is_all_that_counts() -> None:
    made, _ = dialer(FakeHost())
    made.meet = AsyncMock(return_value=Path(V6))
    with pytest.raises(HandshakeFailed):
        await made.connect(Target(PEER, V4))
    made.meet.assert_not_awaited()


async def test_why_a_peer_is_not_met_is_told() -> None:
    made, events = dialer(FakeHost())
    made.meet = AsyncMock(side_effect=LookupFailed("the seed does not know it"))
    with pytest.raises(LookupFailed, match="does not know"):
        await made.connect(Target(PEER))
    assert events == [DialFailed(PEER, "the seed does not know it", ())]
