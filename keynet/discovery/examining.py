"""Examining the NAT before this machine over two fresh sockets. A thin asyncio shell.

What is asked, and what the answers mean, is `nat_behaviour.py`'s.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass

from keynet.address import SocketAddress
from keynet.discovery.interfaces import interface_addresses
from keynet.discovery.nat_behaviour import Behaviour, Examination
from keynet.discovery.reflector import Open, small_socket
from keynet.engine import Datagrams
from keynet.udp.api import Endpoint, Sent
from keynet.udp.path import Path


async def examine(
    server: SocketAddress,
    others: Sequence[SocketAddress] = (),
    *,
    local: SocketAddress | None = None,
    socket: Open = small_socket,
) -> Behaviour:
    """What a server shows of the NAT or firewall here; takes up to half a minute. Cancellable.

    `others` are further servers of the same family, `local` where to bind (any port of every
    address by default); `socket` opens a UDP socket. Raises OSError when there is no such family
    here.
    """
    wildcard = SocketAddress("::" if server.is_ipv6 else "0.0.0.0", 0)
    first = await socket(local or wildcard)
    try:
        second = await socket(local or wildcard)
        try:
            return await _Shell(first, second).run(server, others)
        finally:
            second.close()
    finally:
        first.close()


class _Shell:
    def __init__(self, first: Endpoint, second: Endpoint) -> None:
        self._sockets = (first, second)
        self._loop = asyncio.get_running_loop()
        self._stirred = asyncio.Event()

    async def run(self, server: SocketAddress, others: Sequence[SocketAddress]) -> Behaviour:
        first, second = self._sockets
        examination = Examination(
            server,
            _everywhere(first.addresses),
            os.urandom,
            self._loop.time(),
            others=others,
            ceiling=first.mtu_ceiling(Path(server)),
        )
        for one in (first, second):
            one.set_receiver(_Ear(examination, self._stirred))
        while not examination.finished:
            self._stirred.clear()
            self._send(examination)
            await self._wait(examination.next_deadline())
            examination.handle_deadline(self._loop.time())
        return examination.found

    def _send(self, examination: Examination) -> None:
        now = self._loop.time()
        while outgoing := examination.datagrams_to_send(now):
            for one in outgoing:
                sent = self._sockets[one.second].send(Datagrams(one.data), Path(one.remote))
                if sent in (Sent.TOO_BIG, Sent.FAILED):
                    examination.failed(now)

    async def _wait(self, deadline: float | None) -> None:
        """Until something arrives, or until the deadline."""
        if deadline is None:
            return
        try:
            async with asyncio.timeout_at(deadline):
                await self._stirred.wait()
        except TimeoutError:
            return


def _everywhere(bound: Sequence[SocketAddress]) -> set[SocketAddress]:
    """All that a socket may look like without a NAT, loopback included."""
    hosts = [*interface_addresses(), *(one.host for one in bound)]
    return {SocketAddress(host, one.port) for one in bound for host in hosts}


@dataclass(frozen=True, slots=True)
class _Ear:
    examination: Examination
    stirred: asyncio.Event

    def datagrams_received(self, datagrams: Datagrams, path: Path, now: float) -> None:
        for datagram in datagrams:
            self.examination.receive(datagram, path.remote, now)
        self.stirred.set()

    def drained(self, now: float) -> None:
        """The shell goes on by itself."""

    def writable(self) -> None:
        """A question that was not sent is asked again."""

    def endpoint_failed(self, error: OSError) -> None:
        """Nothing more will arrive: every test runs into its deadline."""
