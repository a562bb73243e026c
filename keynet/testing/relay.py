"""LossyRelay: a bad path of real UDP sockets on loopback, for tests against foreign programs.

A client sends to the relay's address; the relay passes it on to the target from a socket of that
client's own, and the answers back. Both ways go through a Pipe, so loss, reordering and
duplication are FakeNet's and follow from the seed (and from the order of arrival).
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from keynet.address import SocketAddress
from keynet.engine import Datagrams
from keynet.testing.link import LinkModel, Pipe

SOCKET_BUFFER = 4 << 20
MOST_CLIENTS = 64
MOST_WAITING = 1024
LOCAL = SocketAddress("127.0.0.1", 0)
Deliver = Callable[[bytes], None]


class LossyRelay:
    """Between whoever sends to `address`, and `target`. Use as an async context manager."""

    def __init__(
        self,
        target: SocketAddress,
        model: LinkModel,
        *,
        seed: int = 0,
        listen: SocketAddress = LOCAL,
    ) -> None:
        """`model.mtu` applies to what is passed on: loopback itself would take 65,507 bytes."""
        self.target = target
        self.model = model
        self._listen = listen
        self._rng = random.Random(seed)
        self._outside: asyncio.DatagramTransport | None = None
        self._clients: dict[SocketAddress, _Client] = {}
        self._pipes: list[Pipe] = []

    @property
    def address(self) -> SocketAddress:
        """Where to send to, once the relay has started."""
        assert self._outside is not None, "the relay has not been started"
        host, port = self._outside.get_extra_info("sockname")[:2]
        return SocketAddress(host, port)

    async def __aenter__(self) -> LossyRelay:
        self._outside = await _open(_Protocol(self._from_client), self._listen)
        return self

    async def __aexit__(self, *exc: object) -> None:
        for client in self._clients.values():
            client.close()
        if self._outside is not None:
            self._outside.close()
        await asyncio.sleep(0)

    def counts(self) -> Counter[str]:
        """The fates of all datagrams, both ways."""
        return sum((pipe.counts for pipe in self._pipes), Counter())

    def _from_client(self, datagram: bytes, source: SocketAddress) -> None:
        client = self._clients.get(source)
        if client is None:
            if len(self._clients) >= MOST_CLIENTS:
                return
            client = self._clients[source] = self._new_client(source)
        client.there.send(datagram)

    def _new_client(self, source: SocketAddress) -> _Client:
        outside = self._outside
        assert outside is not None
        pipes = [Pipe(self.model, random.Random(self._rng.random())) for _ in range(2)]
        self._pipes += pipes
        client = _Client(pipes[0], _Delayed(pipes[1], lambda data: outside.sendto(data, source)))
        client.opening = asyncio.ensure_future(client.open(self.target))
        return client


class _Client:
    """One client's way to the target: a socket of its own, as a NAT gives it a port."""

    def __init__(self, pipe: Pipe, back: _Delayed) -> None:
        self.there = _Delayed(pipe, self._send)
        self.back = back
        self.opening: asyncio.Future[None] | None = None
        self._inside: asyncio.DatagramTransport | None = None
        self._waiting: deque[bytes] = deque(maxlen=MOST_WAITING)
        self._target = LOCAL

    async def open(self, target: SocketAddress) -> None:
        self._target = target
        here = SocketAddress("::1" if target.is_ipv6 else "127.0.0.1", 0)
        self._inside = await _open(_Protocol(lambda data, _: self.back.send(data)), here)
        while self._waiting:
            self._send(self._waiting.popleft())

    def close(self) -> None:
        if self.opening is not None:
            self.opening.cancel()
        self.there.close()
        self.back.close()
        if self._inside is not None:
            self._inside.close()

    def _send(self, datagram: bytes) -> None:
        if self._inside is None:
            self._waiting.append(datagram)
        else:
            self._inside.sendto(datagram, self._target)


class _Delayed:
    """A pipe in real time: what is sent into it is delivered when its time comes."""

    def __init__(self, pipe: Pipe, deliver: Deliver) -> None:
        self._pipe = pipe
        self._deliver = deliver
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def send(self, datagram: bytes) -> None:
        self._pipe.send(Datagrams(datagram), self._loop.time())
        self._arm()

    def close(self) -> None:
        self._pipe.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        due = self._pipe.next_arrival()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if due is None else self._loop.call_at(due, self._arrive)

    def _arrive(self) -> None:
        for datagram in self._pipe.arrivals(self._loop.time()):
            self._deliver(datagram)
        self._arm()


class _Protocol(asyncio.DatagramProtocol):
    def __init__(self, receive: Callable[[bytes, SocketAddress], None]) -> None:
        self._receive = receive

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self._receive(data, SocketAddress(addr[0], addr[1]))


async def _open(protocol: _Protocol, address: SocketAddress) -> asyncio.DatagramTransport:
    family = socket.AF_INET6 if address.is_ipv6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
    sock.setblocking(False)
    sock.bind(address)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: protocol, sock=sock)
    return transport
