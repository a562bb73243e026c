"""Two nodes with links and no transport, over FakeNet's NATs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from keynet.address import SocketAddress
from keynet.discovery.reflector import Reflector
from keynet.engine import Datagrams
from keynet.identity import Identity
from keynet.signalling.candidate import Candidate, CandidateKind, candidate
from keynet.signalling.link import Link
from keynet.signalling.link_events import LinkEvent, PathSelected
from keynet.signalling.links import Links
from keynet.signalling.settings import LinkSettings
from keynet.stun.binding import Reflection, question
from keynet.testing.fakenet import FakeEndpoint, FakeNet
from keynet.testing.link import LinkModel
from keynet.testing.nat import Nat
from keynet.udp.path import Path

SEED = SocketAddress("203.0.113.1", 3478)
OTHER_SEED = SocketAddress("203.0.113.129", 3478)


class Host:
    """A node that has links only."""

    def __init__(self, endpoint: FakeEndpoint, **options: object) -> None:
        self.identity = Identity.generate()
        self.endpoint = endpoint
        self.events: list[LinkEvent] = []
        self.links = Links(endpoint, self.identity, self._told, **options)  # type: ignore[arg-type]
        self.links.reflected = self._reflected
        self.reflections: dict[SocketAddress, SocketAddress] = {}
        self.changed = asyncio.Event()
        endpoint.set_receiver(self)

    def _told(self, link: Link, event: LinkEvent) -> None:
        self.events.append(event)
        self.changed.set()

    def _reflected(self, message: Reflection, source: SocketAddress, now: float) -> None:
        self.reflections[source] = message.mapped
        self.changed.set()

    async def wait_for(self, kind: type[LinkEvent], limit: float = 60.0) -> LinkEvent:
        async with asyncio.timeout(limit):
            while True:
                for event in self.events:
                    if isinstance(event, kind):
                        return event
                self.changed.clear()
                await self.changed.wait()

    def path_to(self, other: Host) -> Path | None:
        link = self.links.get(other.identity.node_id)
        return link.path if link is not None else None

    async def candidates(self) -> list[Candidate]:
        """Its own address, and what two seeds see."""
        for number, seed in enumerate((SEED, OTHER_SEED)):
            self.endpoint.send(Datagrams(question(bytes(11) + bytes([number]))), Path(seed))
        async with asyncio.timeout(5):
            while len(self.reflections) < 2:
                self.changed.clear()
                await self.changed.wait()
        found = [candidate(CandidateKind.HOST, one) for one in self.endpoint.addresses]
        seen = sorted(set(self.reflections.values()))
        return found + [candidate(CandidateKind.REFLEXIVE, one, n) for n, one in enumerate(seen)]

    # The endpoint's receiver.

    def datagrams_received(self, datagrams: Datagrams, path: Path, now: float) -> None:
        for datagram in datagrams:
            self.links.stun_received(datagram, path, now)

    def drained(self, now: float) -> None:
        pass

    def writable(self) -> None:
        pass

    def endpoint_failed(self, error: OSError) -> None:
        raise error


class Scene:
    """An internet with two seeds."""

    def __init__(self, seed: int = 1, **link: object) -> None:
        self.net = FakeNet(seed, LinkModel(**({"latency": 0.02} | link)))  # type: ignore[arg-type]
        self.hosts: list[Host] = []
        for at in (SEED, OTHER_SEED):
            seed_host = Host(self.net.endpoint(at))
            seed_host.links.asked = Reflector(seed_host.endpoint).asked
            self.hosts.append(seed_host)

    def host(self, address: str, nat: Nat | None = None, **options: object) -> Host:
        endpoint = self.net.endpoint(SocketAddress(address, 4000), behind=nat)
        host = Host(endpoint, **options)
        self.hosts.append(host)
        return host

    def close(self) -> None:
        for host in self.hosts:
            host.links.close()
            host.endpoint.close()


async def punch(a: Host, b: Host, only: Iterable[CandidateKind] | None = None) -> None:
    """What an offer and its answer bring about: both begin at the same moment."""
    kinds = set(only or CandidateKind)
    of_a = [one for one in await a.candidates() if one.kind in kinds]
    of_b = [one for one in await b.candidates() if one.kind in kinds]
    a.links.punch(b.identity.node_id, of_b)
    b.links.punch(a.identity.node_id, of_a)


async def linked(a: Host, b: Host, limit: float = 30.0) -> None:
    await punch(a, b)
    await a.wait_for(PathSelected, limit)
    await b.wait_for(PathSelected, limit)


SHORT_MAPPINGS = LinkSettings(consent_interval=2.0)
"""Holds a NAT that forgets after 5 s."""
