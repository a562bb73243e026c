"""The relay on real sockets: one to listen at, one for each allocation. Only I/O lives here.

The engine is `server.TurnServer`. Like a router, the relay drops what a full socket does not take.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keynet.address import SocketAddress
from keynet.engine import Datagrams
from keynet.errors import ConfigError
from keynet.relay.events import PortReleased, PortWanted
from keynet.relay.limits import RelayLimits
from keynet.relay.reach import Reach
from keynet.relay.server import LISTENING, TurnServer
from keynet.udp.api import Endpoint, Sent
from keynet.udp.endpoint import bind
from keynet.udp.path import Path

logger = logging.getLogger("keynet.relay")

BUFFER_SIZE = 1 << 20
"""Bytes, each way, of an allocation's socket."""

_ATTEMPTS = 32
"""To be given an even port: the kernel's choice is random."""


@dataclass(frozen=True, slots=True)
class RelayHost:
    """An address that relayed ports are opened at."""

    bind: str
    """A local address; no wildcard unless `announced` is given."""
    announced: str = ""
    """What peers are told, where a NAT stands in front of it; else the same."""

    def __post_init__(self) -> None:
        for host in (self.bind, self.announced or self.bind):
            try:
                address = ipaddress.ip_address(host)
            except ValueError as error:
                raise ConfigError(f"a relay's host is an IP address, not {host!r}") from error
        if address.is_unspecified:
            raise ConfigError(f"name the address at which peers reach the relay, not {host}")

    @property
    def is_ipv6(self) -> bool:
        """Which family is relayed there."""
        return ":" in self.bind


class RelayServer:
    """A TURN server. `open` it, then `close` it."""

    def __init__(
        self,
        password_of: Callable[[str], str | None],
        hosts: Sequence[RelayHost],
        *,
        limits: RelayLimits | None = None,
        reach: Reach | None = None,
    ) -> None:
        """`hosts` are one address for each family that is relayed; see `TurnServer`."""
        self.counters: Counter[str] = Counter()
        """What the sockets did not take, by reason."""
        self._hosts = {one.is_ipv6: one for one in hosts}
        self._given = len(hosts)
        self.engine = TurnServer(
            password_of,
            secrets.token_bytes,
            secrets.token_bytes(32),
            limits=limits,
            reach=reach,
            ipv4=False in self._hosts,
            ipv6=True in self._hosts,
        )
        self._sockets: dict[int, Endpoint] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def addresses(self) -> tuple[SocketAddress, ...]:
        """Where it listens; empty while it is closed."""
        listening = self._sockets.get(LISTENING)
        return listening.addresses if listening is not None else ()

    async def open(self, *listen: SocketAddress) -> None:
        """Listen. Raises ConfigError and OSError as `keynet.udp.endpoint.bind` does, and
        ConfigError for hosts that are not one of a family."""
        if not self._hosts or len(self._hosts) != self._given:
            raise ConfigError("a relay needs one host, or one IPv4 and one IPv6 host")
        self._loop = asyncio.get_running_loop()
        self._sockets[LISTENING] = await bind(listen)
        self._sockets[LISTENING].set_receiver(_Ear(self, LISTENING))

    async def close(self) -> None:
        """End every allocation and close every socket; idempotent."""
        self.engine.close()
        self._take_events()
        opening = list(self._opening)
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        for one in self._sockets.values():
            one.close()
        self._sockets.clear()
        if self._timer is not None:
            self._timer.cancel()

    def stats(self) -> dict[str, int | float]:
        """The engine's counters, gauges and limits, and what sockets dropped."""
        return {**self.engine.stats(), **self.counters}

    def received(self, datagrams: Datagrams, number: int, path: Path, now: float) -> None:
        """A batch came to a socket; `flush` follows."""
        if number == LISTENING:
            self.engine.receive(datagrams, path, now)
        else:
            self.engine.receive_relayed(datagrams, number, path.remote, now)

    def flush(self) -> None:
        """Send what the engine has, open and close what it wants, re-arm the one timer."""
        self._take_events()
        for number, path, datagrams in self.engine.transmissions():
            through = self._sockets.get(number)
            sent = through.send(datagrams, path) if through is not None else Sent.FAILED
            if sent is not Sent.OK:
                self.counters[f"not sent: {sent.value}"] += len(datagrams)
        self._arm()

    def failed(self, number: int, error: OSError) -> None:
        """A socket is broken."""
        logger.warning("a socket of the relay failed: %s", error)
        if number == LISTENING:
            self.engine.close()
        elif self._loop is not None:
            self.engine.port_failed(number, self._loop.time())
        self.flush()

    def _take_events(self) -> None:
        while (event := self.engine.next_event()) is not None:
            if isinstance(event, PortWanted):
                task = asyncio.ensure_future(self._open_port(event))
                self._opening.add(task)
                task.add_done_callback(self._opening.discard)
            else:
                self._release(event)

    def _release(self, event: PortReleased) -> None:
        socket = self._sockets.pop(event.number, None)
        if socket is not None:
            socket.close()
        logger.debug("relayed port %s closed: %s", event.relayed, event.reason)

    async def _open_port(self, wanted: PortWanted) -> None:
        host = self._hosts[wanted.ipv6]
        loop = asyncio.get_running_loop()
        try:
            socket = await _bound(host.bind, wanted.even)
        except OSError as error:
            logger.warning("no port for a relay allocation: %s", error)
            self.engine.port_failed(wanted.number, loop.time())
        else:
            self._sockets[wanted.number] = socket
            socket.set_receiver(_Ear(self, wanted.number))
            (bound,) = socket.addresses
            relayed = SocketAddress(host.announced or bound.host, bound.port)
            self.engine.port_opened(wanted.number, relayed, loop.time())
        self.flush()

    def _arm(self) -> None:
        deadline = self.engine.next_deadline()
        if self._timer is not None:
            if deadline == self._timer.when():
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None and self._loop is not None:
            self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._loop is not None:
            self.engine.handle_deadline(self._loop.time())
        self.flush()


async def _bound(host: str, even: bool) -> Endpoint:
    """A socket at any free port, or any even one. Raises OSError."""
    for _ in range(_ATTEMPTS):
        socket = await bind((SocketAddress(host, 0),), buffer_size=BUFFER_SIZE)
        if not (even and socket.addresses[0].port % 2):
            return socket
        socket.close()
    raise OSError(errno.EADDRINUSE, "no even port is free")


@dataclass(frozen=True, slots=True)
class _Ear:
    """Receives at one socket."""

    server: RelayServer
    number: int

    def datagrams_received(self, datagrams: Datagrams, path: Path, now: float) -> None:
        self.server.received(datagrams, self.number, path, now)

    def drained(self, now: float) -> None:
        self.server.flush()

    def writable(self) -> None:
        """Nothing waits: what a full socket did not take is dropped."""

    def endpoint_failed(self, error: OSError) -> None:
        self.server.failed(self.number, error)
