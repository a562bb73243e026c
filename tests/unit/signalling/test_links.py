"""Links that are held: keepalive, liveness, better paths, packet sizes, and strangers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keynet.address import SocketAddress
from keynet.engine import Datagrams
from keynet.errors import ConfigError
from keynet.identity import Identity
from keynet.identity.agreement import ping_key
from keynet.signalling.candidate import CandidateKind, candidate
from keynet.signalling.link_events import (
    LinkLost,
    LinkRecovered,
    PathDied,
    PathSelected,
    PunchWanted,
)
from keynet.signalling.settings import LinkSettings
from keynet.stun.binding import Ping, ping, pong, read
from keynet.testing.clock import run
from keynet.testing.link import LinkModel
from keynet.testing.nat import PORT_RESTRICTED, Nat, NatModel
from keynet.udp.api import Sent
from keynet.udp.path import Path
from tests.unit.signalling.scenes import SEED, SHORT_MAPPINGS, Host, Scene, linked, punch


def with_pair(
    program: Callable[[Scene, Host, Host], Awaitable[None]],
    nat: NatModel = PORT_RESTRICTED,
    settings: LinkSettings | None = None,
) -> None:
    async def whole() -> None:
        scene = Scene()
        homes = [Nat(nat, f"198.51.{n}.1", seed=n) for n in (1, 2)]
        a, b = (
            scene.host(f"192.168.{n}.2", home, settings=settings) for n, home in enumerate(homes, 1)
        )
        await linked(a, b)
        try:
            await program(scene, a, b)
        finally:
            scene.close()

    run(whole())


def cut(scene: Scene, a: Host, b: Host, *, off: bool = True) -> None:
    for one in scene.net._pipes.values():
        one.model = LinkModel(latency=0.02, partitioned=off)


def spied(host: Host) -> list[tuple[Path, bytes]]:
    """What the host sends from now on."""
    sent: list[tuple[Path, bytes]] = []
    send = host.endpoint.send

    def spying(datagrams: Datagrams, path: Path) -> Sent:
        sent.append((path, bytes(datagrams.data)))
        return send(datagrams, path)

    host.endpoint.send = spying  # type: ignore[method-assign]
    return sent


def of(host: Host, kind: type) -> list:
    return [event for event in host.events if isinstance(event, kind)]


def test_both_use_one_path_that_the_larger_id_chose():
    async def program(scene, a, b):
        await asyncio.sleep(10)
        assert a.path_to(b).remote.host == "198.51.2.1"
        assert b.path_to(a).remote.host == "198.51.1.1"

    with_pair(program)


def test_a_link_at_rest_is_held_with_few_datagrams():
    async def program(scene, a, b):
        await asyncio.sleep(30)
        before = a.endpoint.counts["sent_datagrams"]
        await asyncio.sleep(600)
        assert of(a, LinkLost) == of(b, LinkLost) == []
        a_minute = (a.endpoint.counts["sent_datagrams"] - before) / 10
        assert 20 <= a_minute <= 32

    with_pair(program)


def test_a_nat_that_forgets_after_30_seconds_is_held_by_default():
    async def program(scene, a, b):
        await asyncio.sleep(600)
        assert of(a, PunchWanted) == []

    with_pair(program, NatModel(timeout=30.0))


def test_a_nat_that_forgets_after_5_seconds_is_held_by_setting():
    async def program(scene, a, b):
        await asyncio.sleep(600)
        assert of(a, PunchWanted) == []

    with_pair(program, NatModel(timeout=5.0), SHORT_MAPPINGS)


def test_a_peer_that_is_gone_is_reported_in_time_and_with_its_reason():
    async def program(scene, a, b):
        await asyncio.sleep(60)
        heard_at = a.links.get(b.identity.node_id).heard_at
        b.endpoint.close()
        lost = await a.wait_for(LinkLost)
        now = asyncio.get_running_loop().time()
        assert now - heard_at <= 15.1
        assert "has not been heard for 15 s" in lost.reason
        assert len(of(a, PunchWanted)) == 1
        assert [type(e) for e in a.events[-3:]] == [PunchWanted, PathDied, LinkLost]
        assert a.links.get(b.identity.node_id) is None

    with_pair(program)


def test_ones_own_fault_is_told_apart():
    async def program(scene, a, b):
        a.links.network_down("no interface has an address")
        cut(scene, a, b)
        lost = await a.wait_for(LinkLost)
        assert "own network is down: no interface" in lost.reason

    with_pair(program)


def test_a_short_outage_is_survived_and_reported():
    async def program(scene, a, b):
        await asyncio.sleep(20)
        cut(scene, a, b)
        await a.wait_for(PunchWanted)
        cut(scene, a, b, off=False)
        recovered = await a.wait_for(LinkRecovered)
        assert 0 < recovered.silence < 15
        await asyncio.sleep(60)
        assert of(a, LinkLost) == []

    with_pair(program)


def test_a_nat_that_reboots_is_punched_again_before_the_loss():
    async def program(scene, a, b):
        await asyncio.sleep(20)
        a.endpoint.behind.reboot("198.51.77.1")
        await a.wait_for(PunchWanted)
        a.reflections.clear()
        await punch(a, b)
        await asyncio.sleep(30)
        assert of(a, LinkLost) == of(b, LinkLost) == []
        assert b.path_to(a).remote.host == "198.51.77.1"

    with_pair(program)


def test_a_mapping_that_changes_is_followed_by_pings_alone():
    """The peer's ping comes from a new address: it is asked back, and used once it has answered."""

    async def program(scene, a, b):
        a.endpoint.behind.reboot("198.51.77.1")
        await asyncio.sleep(40)
        assert of(a, LinkLost) == of(b, LinkLost) == []
        assert b.path_to(a).remote.host == "198.51.77.1"

    with_pair(program, NatModel(filtering=PORT_RESTRICTED.mapping))


def test_the_packet_size_of_a_path_is_found():
    async def program() -> None:
        scene = Scene(mtu=1452)
        a, b = scene.host("198.51.1.2"), scene.host("198.51.2.2")
        await linked(a, b)
        await asyncio.sleep(20)
        link = a.links.get(b.identity.node_id)
        assert link.mtu(link.path) == 1452
        assert of(a, PunchWanted) == []
        scene.close()

    run(program())


def test_a_quicker_path_replaces_a_slow_one_on_both_sides():
    async def program() -> None:
        scene = Scene(latency=0.05)
        a, b = scene.host("198.51.1.2"), scene.host("198.51.2.2")
        if a.identity.node_id.public_key < b.identity.node_id.public_key:
            a, b = b, a
        slow, fast = b.endpoint.addresses[0], SocketAddress("198.51.3.3", 4000)
        scene.net.move(b.endpoint, slow, fast)
        own = a.endpoint.addresses[0]
        for here, there in ((own, fast), (fast, own)):
            scene.net._models[here.host, there.host] = LinkModel(latency=0.005)
        a.links.punch(b.identity.node_id, [candidate(CandidateKind.HOST, slow)])
        b.links.punch(a.identity.node_id, [candidate(CandidateKind.HOST, own)])
        await a.wait_for(PathSelected)
        assert a.path_to(b).remote == slow
        a.links.punch(b.identity.node_id, [candidate(CandidateKind.HOST, fast)])
        await asyncio.sleep(10)
        assert a.path_to(b).remote == fast
        assert a.links.get(b.identity.node_id).rtt < 0.02
        assert of(a, PathDied) == of(a, LinkLost) == []
        scene.close()

    run(program())


# Pings that somebody waits for.


def test_a_ping_now_measures_the_path_in_use_afresh():
    async def program(scene, a, b):
        await asyncio.sleep(20)  # packet sizes are known by then
        state = await a.links.ping(b.identity.node_id)
        assert state.path == a.path_to(b)
        before, began_at = state.pongs, asyncio.get_running_loop().time()
        again = await asyncio.gather(*(a.links.ping(b.identity.node_id) for _ in range(3)))
        assert again == [state] * 3
        assert state.pongs == before + 1
        assert asyncio.get_running_loop().time() - began_at == pytest.approx(state.last_rtt)
        assert state.last_rtt == pytest.approx(0.04)

    with_pair(program)


def test_a_ping_that_is_not_answered_ends_with_the_link():
    async def program(scene, a, b):
        await asyncio.sleep(20)
        cut(scene, a, b)
        assert await a.links.ping(b.identity.node_id) is None
        assert of(a, LinkLost)
        assert await a.links.ping(b.identity.node_id) is None
        assert not a.links._waiting

    with_pair(program)


def test_nobody_waits_for_a_ping_without_a_path_or_after_cancelling():
    async def program(scene, a, b):
        assert await a.links.ping(Identity.generate().node_id) is None
        cut(scene, a, b)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(a.links.ping(b.identity.node_id), 1.0)
        assert not any(a.links._waiting.values())

    with_pair(program)


# Strangers.


def test_nobody_without_the_key_changes_anything():
    async def program(scene, a, b):
        eve = Identity.generate()
        somewhere = Path(SocketAddress("203.0.113.66", 1))
        link = a.links.get(b.identity.node_id)
        before, sent = a.path_to(b), a.endpoint.counts["sent_datagrams"]
        forged = ping(bytes(12), a.identity.node_id, b.identity.node_id, bytes(32), nominate=True)
        own = ping_key(eve.private_key, a.identity.node_id)
        from_eve = ping(bytes(12), a.identity.node_id, eve.node_id, own)
        now = asyncio.get_running_loop().time()
        for datagram in (forged, from_eve, forged[:-1], b""):
            a.links.stun_received(datagram, somewhere, now)
        assert a.path_to(b) == before
        assert a.endpoint.counts["sent_datagrams"] == sent
        assert link.counters["forged pings"] == 1
        assert a.links.counters["pings of strangers"] == 1

    with_pair(program)


def test_a_replayed_ping_from_elsewhere_draws_at_most_three_times_its_bytes_and_no_path():
    async def program(scene, a, b):
        key = ping_key(b.identity.private_key, a.identity.node_id)
        replayed = ping(b"some old ping", a.identity.node_id, b.identity.node_id, key)
        victim = Path(SocketAddress("203.0.113.66", 1))
        before, sent = a.path_to(b), spied(a)
        for _ in range(3):
            a.links.stun_received(replayed, victim, asyncio.get_running_loop().time())
        await asyncio.sleep(4)
        assert a.path_to(b) == before
        drawn = sum(len(datagram) for path, datagram in sent if path == victim)
        assert 0 < drawn <= 3 * 3 * len(replayed)

    with_pair(program)


def test_pings_are_answered_only_so_often():
    async def program(scene, a, b):
        key = ping_key(b.identity.private_key, a.identity.node_id)
        link, path = a.links.get(b.identity.node_id), a.path_to(b)
        for number in range(200):
            tid = number.to_bytes(12)
            datagram = ping(tid, a.identity.node_id, b.identity.node_id, key)
            a.links.stun_received(datagram, path, asyncio.get_running_loop().time())
        assert link.counters["pings above the rate"] >= 150

    with_pair(program)


def test_a_pong_from_elsewhere_is_not_believed():
    async def program(scene, a, b):
        caught = spied(a)
        await asyncio.sleep(7)
        sent = next(p for _, d in caught if isinstance(p := read(d), Ping))
        key = ping_key(b.identity.private_key, a.identity.node_id)
        answer = pong(sent, SEED, key)
        elsewhere = Path(SocketAddress("203.0.113.66", 1))
        a.links.stun_received(answer, elsewhere, asyncio.get_running_loop().time())
        assert all(state.path.remote != elsewhere.remote for state in _paths(a, b))

    with_pair(program)


def _paths(a: Host, b: Host):
    return a.links.get(b.identity.node_id).paths


def test_a_ping_to_an_id_that_was_rotated_away_still_gets_its_pong():
    async def program() -> None:
        scene = Scene()
        a, b = scene.host("198.51.1.2"), scene.host("198.51.2.2")
        old = b.identity
        b.identity = b.links.identity = old.rotate()
        await linked(a, b)
        key = ping_key(a.identity.private_key, old.node_id)
        datagram = ping(bytes(12), old.node_id, a.identity.node_id, key)
        sent = b.endpoint.counts["sent_datagrams"]
        b.links.stun_received(datagram, b.path_to(a), asyncio.get_running_loop().time())
        assert b.endpoint.counts["sent_datagrams"] == sent + 1
        scene.close()

    run(program())


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=200), max_size=10))
def test_arbitrary_datagrams_never_raise(datagrams):
    async def program() -> None:
        scene = Scene()
        a = scene.host("198.51.1.2")
        for datagram in datagrams:
            a.links.stun_received(datagram, Path(SEED), 1.0)
        assert len(a.links) == 0
        scene.close()

    run(program())


def test_settings_that_cannot_hold_are_refused():
    with pytest.raises(ConfigError, match="before it is dead"):
        LinkSettings(consent_interval=10.0)
