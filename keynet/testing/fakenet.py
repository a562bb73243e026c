"""FakeNet: a network of fake endpoints on a virtual-time event loop. Deterministic by its seed.

Its endpoints satisfy `keynet.udp.api.Endpoint`, so the real asyncio shells run over them
unchanged. Every ordered pair of addresses is a Pipe of its own, made on first use. An endpoint
lives in the internet or behind a NAT; each NAT has a network of its own inside.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterable, Sequence

from keynet.address import SocketAddress
from keynet.engine import Datagrams
from keynet.testing.link import LinkModel, Pipe, merged
from keynet.testing.nat import Nat
from keynet.udp.api import Receiver, Sent
from keynet.udp.budget import ReceiveBudget
from keynet.udp.path import Path

MAX_BATCH = 65507
Arrived = tuple[list[bytes], SocketAddress, SocketAddress]
"""Datagrams, whom they came from, and the local address that they came to."""


class FakeNet:
    """Endpoints and the pipes between them. Make it on a running loop."""

    def __init__(self, seed: int = 0, link: LinkModel | None = None) -> None:
        """`link` is how every path behaves that `set_link` has not said otherwise about."""
        self.default = link or LinkModel()
        self._loop = asyncio.get_running_loop()
        self._rng = random.Random(seed)
        self._pipes: dict[tuple[SocketAddress, SocketAddress, Nat | None], Pipe] = {}
        self._models: dict[tuple[str, str], LinkModel] = {}
        self._endpoints: dict[tuple[Nat | None, SocketAddress], FakeEndpoint] = {}
        self._nats: list[Nat] = []
        self._hosts = 0
        self.unroutable = 0
        """Datagram batches that were sent to addresses where nobody is."""

    def endpoint(
        self,
        *addresses: SocketAddress,
        mtu_ceiling: int = 1472,
        receive_buffer: int = 4 << 20,
        behind: Nat | None = None,
    ) -> FakeEndpoint:
        """A new endpoint at `addresses`, or at a fresh address of its own, perhaps behind a NAT.

        `mtu_ceiling` is the largest UDP payload of its interface, `receive_buffer` the bytes that
        its socket holds between two wake-ups.
        """
        if not addresses:
            self._hosts += 1
            addresses = (SocketAddress(f"10.0.{self._hosts >> 8}.{self._hosts & 255}", 4000),)
        endpoint = FakeEndpoint(self, addresses, mtu_ceiling, receive_buffer, behind)
        nat = behind
        while nat is not None and nat not in self._nats:
            self._nats.append(nat)
            nat = nat.parent
        for address in addresses:
            self._place(address, endpoint)
        return endpoint

    def set_link(
        self,
        source: FakeEndpoint,
        destination: FakeEndpoint,
        model: LinkModel,
        *,
        both: bool = True,
    ) -> None:
        """From now on the path between two endpoints behaves so; what is in flight stays."""
        for here in source.addresses:
            for there in destination.addresses:
                self._set_one(here.host, there.host, model)
                if both:
                    self._set_one(there.host, here.host, model)

    def pipe(
        self, source: SocketAddress, destination: SocketAddress, inside: Nat | None = None
    ) -> Pipe:
        """The pipe from one address to another, with its counts; by default in the internet."""
        key = (source, destination, inside)
        if key not in self._pipes:
            model = self._models.get((source.host, destination.host), self.default)
            self._pipes[key] = Pipe(model, random.Random(self._rng.random()))
        return self._pipes[key]

    def move(self, endpoint: FakeEndpoint, *addresses: SocketAddress) -> None:
        """Give an endpoint other addresses, as roaming and NAT rebinding do.

        What is in flight to the old addresses is lost; nobody is told.
        """
        self._forget(endpoint)
        endpoint.addresses = addresses
        for address in addresses:
            self._place(address, endpoint)

    def counts(self) -> Counter[str]:
        """The fates of all datagrams so far, over all pipes."""
        return sum((pipe.counts for pipe in self._pipes.values()), Counter())

    def _set_one(self, source: str, destination: str, model: LinkModel) -> None:
        self._models[source, destination] = model
        for (here, there, _), pipe in self._pipes.items():
            if (here.host, there.host) == (source, destination):
                pipe.model = model

    def _place(self, address: SocketAddress, endpoint: FakeEndpoint) -> None:
        if (endpoint.behind, address) in self._endpoints:
            raise OSError(f"address already in use: {address}")
        self._endpoints[endpoint.behind, address] = endpoint

    def _forget(self, endpoint: FakeEndpoint) -> None:
        for address in endpoint.addresses:
            if self._endpoints.get((endpoint.behind, address)) is endpoint:
                del self._endpoints[endpoint.behind, address]

    def _carry(
        self,
        datagrams: Datagrams,
        source: SocketAddress,
        remote: SocketAddress,
        inside: Nat | None,
    ) -> None:
        """Up through the NATs above the sender, until a network has the destination."""
        now = self._loop.time()
        while (inside, remote) not in self._endpoints and self._nat_at(remote, inside) is None:
            if inside is None:
                self.unroutable += 1
                return
            source, inside = inside.outbound(source, remote, now), inside.parent
        pipe = self.pipe(source, remote, inside)
        was_due = pipe.next_arrival()
        pipe.send(datagrams, now)
        due = pipe.next_arrival()
        if due is not None and due != was_due:
            self._loop.call_at(due, self._arrive, pipe, source, remote, inside)

    def _arrive(
        self, pipe: Pipe, source: SocketAddress, remote: SocketAddress, inside: Nat | None
    ) -> None:
        arrived = pipe.arrivals(self._loop.time())
        reached = self._receiver(source, remote, inside)
        if reached is not None and arrived:
            endpoint, local = reached
            endpoint._queue(arrived, source, local)
        due = pipe.next_arrival()
        if due is not None and arrived:
            self._loop.call_at(due, self._arrive, pipe, source, remote, inside)

    def _receiver(
        self, source: SocketAddress, to: SocketAddress, inside: Nat | None
    ) -> tuple[FakeEndpoint, SocketAddress] | None:
        """Down through the NATs below: which endpoint gets it, and at which of its addresses."""
        while (inside, to) not in self._endpoints:
            nat = self._nat_at(to, inside)
            reached = nat.inbound(source, to.port, self._loop.time()) if nat is not None else None
            if reached is None:
                return None
            to, inside = reached, nat
        return self._endpoints[inside, to], to

    def _nat_at(self, address: SocketAddress, inside: Nat | None) -> Nat | None:
        """The NAT whose outside address that is, in the network `inside`."""
        for nat in self._nats:
            if nat.outside == address.host and nat.parent is inside:
                return nat
        return None


class FakeEndpoint:
    """An endpoint of a FakeNet; satisfies `keynet.udp.api.Endpoint`."""

    def __init__(
        self,
        net: FakeNet,
        addresses: Sequence[SocketAddress],
        mtu_ceiling: int,
        receive_buffer: int,
        behind: Nat | None,
    ) -> None:
        self.behind = behind
        """The NAT that it is behind; None in the internet."""
        self.addresses: tuple[SocketAddress, ...] = tuple(addresses)
        self.budget = ReceiveBudget(receive_buffer)
        self.max_batch = MAX_BATCH
        self.closed = False
        self.counts: Counter[str] = Counter()
        self._net = net
        self._ceiling = mtu_ceiling
        self._loop = asyncio.get_running_loop()
        self._receiver: Receiver | None = None
        self._inbox: list[Arrived] = []
        self._inbox_bytes = 0
        self._wake: asyncio.Handle | None = None
        self._blocked = False

    def set_receiver(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def send(self, datagrams: Datagrams, path: Path) -> Sent:
        if self.closed:
            return Sent.FAILED
        if self._blocked:
            self.counts["blocked"] += 1
            return Sent.BLOCKED
        if datagrams.stride > self._ceiling and not datagrams.may_fragment:
            self.counts["too_big"] += 1
            return Sent.TOO_BIG
        source = self._source(path)
        if source is None:
            self.counts["failed"] += 1
            return Sent.FAILED
        self.counts["sent_datagrams"] += len(datagrams)
        self.counts["sent_bytes"] += len(datagrams.data)
        self._net._carry(datagrams, source, path.remote, self.behind)
        return Sent.OK

    def mtu_ceiling(self, path: Path) -> int:
        return self._ceiling

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._net._forget(self)
        self._receiver = None
        self._inbox.clear()
        if self._wake is not None:
            self._wake.cancel()

    def stats(self) -> dict[str, float | int | str]:
        return dict(self.counts)

    def block(self) -> None:
        """Let `send` say BLOCKED until `unblock`: a socket buffer that is full."""
        self._blocked = True

    def unblock(self) -> None:
        """Take batches again, and say so to the receiver."""
        self._blocked = False
        if self._receiver is not None:
            self._loop.call_soon(self._tell_writable)

    def inject(self, datagrams: Iterable[bytes], source: SocketAddress) -> None:
        """Let datagrams arrive that claim to come from `source`; anybody can spoof UDP."""
        self._queue(list(datagrams), source, self.addresses[0])

    def _tell_writable(self) -> None:
        if self._receiver is not None:
            self._receiver.writable()

    def _source(self, path: Path) -> SocketAddress | None:
        for address in self.addresses:
            if path.local is not None and address.host != path.local:
                continue
            if address.is_ipv6 == path.remote.is_ipv6:
                return address
        return None

    def _queue(self, arrived: list[bytes], source: SocketAddress, local: SocketAddress) -> None:
        size = sum(map(len, arrived))
        if self.closed or self._inbox_bytes + size > self.budget.total:
            self.counts["receive_buffer_full"] += len(arrived)
            return
        self._inbox.append((arrived, source, local))
        self._inbox_bytes += size
        if self._wake is None:
            self._wake = self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        """One wake-up: every batch that is there, then `drained`."""
        inbox, self._inbox, self._inbox_bytes, self._wake = self._inbox, [], 0, None
        now = self._loop.time()
        for arrived, source, local in inbox:
            path = Path(source, local.host)
            for batch in merged(arrived):
                self.counts["received_datagrams"] += len(batch)
                if self._receiver is not None:
                    self._receiver.datagrams_received(batch, path, now)
        if self._receiver is not None:
            self._receiver.drained(now)
