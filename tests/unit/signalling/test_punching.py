"""Which NATs are punched: facts of RFC 4787 behaviours, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from keynet.address import SocketAddress
from keynet.identity import Identity
from keynet.signalling.candidate import CandidateKind, candidate
from keynet.signalling.link_events import PathSelected, PunchEnded
from keynet.signalling.links import PROBE_BURST, PROBE_RATE
from keynet.signalling.puncher import Fate
from keynet.testing.clock import run
from keynet.testing.nat import (
    ADDRESS_RESTRICTED,
    FULL_CONE,
    PORT_RESTRICTED,
    SYMMETRIC,
    Nat,
    NatModel,
)
from tests.unit.signalling.scenes import Host, Scene, linked, punch

KINDS: dict[str, NatModel | None] = {
    "public": None,
    "full-cone": FULL_CONE,
    "address-restricted": ADDRESS_RESTRICTED,
    "port-restricted": PORT_RESTRICTED,
    "symmetric": SYMMETRIC,
}
HARD = {frozenset({"symmetric", "port-restricted"}), frozenset({"symmetric"})}
PAIRS = [(a, b) for a in KINDS for b in KINDS]


def home(scene: Scene, kind: str, number: int) -> Host:
    model = KINDS[kind]
    if model is None:
        return scene.host(f"198.51.{number}.2")
    nat = Nat(model, f"198.51.{number}.1", seed=number)
    return scene.host(f"192.168.{number}.2", nat)


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=[f"{a}--{b}" for a, b in PAIRS])
def test_pair(one, other):
    hard = frozenset({one, other}) in HARD

    async def program() -> None:
        scene = Scene()
        a, b = home(scene, one, 1), home(scene, other, 2)
        await punch(a, b)
        if hard:
            ended = await a.wait_for(PunchEnded)
            assert ended == PunchEnded(False, a.links.get(b.identity.node_id).puncher.why())
            assert "no answer from" in ended.reason
        else:
            started_at = asyncio.get_running_loop().time()
            await a.wait_for(PathSelected)
            await b.wait_for(PathSelected)
            assert asyncio.get_running_loop().time() - started_at < 1.0
            await asyncio.sleep(30)
            assert a.path_to(b) is not None
            assert b.path_to(a) is not None
        scene.close()

    run(program())


def test_a_carriers_nat_over_a_port_restricted_one():
    async def program() -> None:
        scene = Scene()
        carrier = Nat(PORT_RESTRICTED, "198.51.100.1")
        a = scene.host("192.168.1.2", Nat(PORT_RESTRICTED, "100.64.0.2", parent=carrier))
        b = home(scene, "port-restricted", 2)
        await linked(a, b)
        scene.close()

    run(program())


@pytest.mark.parametrize("hairpin", [False, True])
def test_two_homes_under_one_carrier_need_its_hairpin(hairpin):
    async def program() -> None:
        scene = Scene()
        carrier = Nat(NatModel(hairpin=hairpin), "198.51.100.1")
        homes = [Nat(PORT_RESTRICTED, f"100.64.0.{n}", parent=carrier) for n in (2, 3)]
        a, b = (scene.host(f"192.168.{n}.2", nat) for n, nat in enumerate(homes))
        await punch(a, b)
        ended = await a.wait_for(PunchEnded)
        assert ended.opened is hairpin
        scene.close()

    run(program())


def test_two_hosts_in_one_lan_meet_inside():
    async def program() -> None:
        scene = Scene()
        nat = Nat(PORT_RESTRICTED, "198.51.100.1")
        a, b = scene.host("192.168.1.2", nat), scene.host("192.168.1.3", nat)
        await linked(a, b)
        assert a.path_to(b).remote.host == "192.168.1.3"
        scene.close()

    run(program())


@pytest.mark.parametrize("seed", range(5))
def test_loss_of_a_fifth_is_made_good(seed):
    async def program() -> None:
        scene = Scene(seed)
        a, b = home(scene, "port-restricted", 1), home(scene, "port-restricted", 2)
        of_a, of_b = await a.candidates(), await b.candidates()
        scene.net.default = lossy = type(scene.net.default)(latency=0.02, loss=0.2)
        for pipe in scene.net._pipes.values():
            pipe.model = lossy
        a.links.punch(b.identity.node_id, of_b)
        b.links.punch(a.identity.node_id, of_a)
        await a.wait_for(PathSelected)
        await b.wait_for(PathSelected)
        scene.close()

    run(program())


def test_every_address_is_accounted_for_and_none_is_flooded():
    async def program() -> None:
        scene = Scene()
        a, b = home(scene, "symmetric", 1), home(scene, "symmetric", 2)
        before = a.endpoint.counts["sent_datagrams"]
        await punch(a, b)
        await a.wait_for(PunchEnded)
        puncher = a.links.get(b.identity.node_id).puncher
        assert puncher.attempt == 3
        for outcome in puncher.outcomes:
            assert outcome.fate in (Fate.TRIED, Fate.REFUSED)
            assert outcome.pings <= 15
        assert a.endpoint.counts["sent_datagrams"] - before <= 2 + 15 * len(puncher.outcomes)
        scene.close()

    run(program())


def test_a_peer_without_an_address_that_may_be_tried_is_told_of_at_once():
    async def program() -> None:
        scene = Scene()
        a, b = scene.host("198.51.1.2"), scene.host("198.51.2.2")
        loopback = candidate(CandidateKind.HOST, SocketAddress("127.0.0.1", 4000))
        for told in ([], [loopback]):
            a.events.clear()
            a.links.punch(b.identity.node_id, told)
            ended = await a.wait_for(PunchEnded, 0.1)
            assert not ended.opened
        assert "none of its 1 addresses may be probed" in ended.reason
        [outcome] = a.links.get(b.identity.node_id).puncher.outcomes
        assert outcome.fate is Fate.REFUSED
        scene.close()

    run(program())


def test_one_address_that_does_not_answer_gets_few_pings_of_all_links_together():
    """Whoever makes up ids, and names one victim in an offer of each."""

    async def program() -> None:
        scene = Scene()
        a = scene.host("198.51.1.2")
        before = a.endpoint.counts["sent_datagrams"]
        for port in range(1, 400, 8):
            named = [SocketAddress("203.0.113.200", port + n) for n in range(8)]
            told = [candidate(CandidateKind.HOST, one) for one in named]
            a.links.punch(Identity.generate().node_id, told)
        await asyncio.sleep(30)
        sent = a.endpoint.counts["sent_datagrams"] - before
        assert PROBE_BURST < sent <= PROBE_BURST + 30 * PROBE_RATE
        assert a.links.counters["pings held back"] > 1000
        scene.close()

    run(program())
