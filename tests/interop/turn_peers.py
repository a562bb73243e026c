"""What the TURN tests share: our client on a real socket, an echo, and foreign programs."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path as File
from typing import cast

from keynet.address import SocketAddress
from keynet.engine import Datagrams
from keynet.relay.client import TurnClient
from keynet.relay.credentials import Credentials
from keynet.relay.events import ClientEvent, DataReceived
from keynet.udp.endpoint import bind
from keynet.udp.path import Path

SECRET = b"the relays' common secret"
LOOPBACK = {False: "127.0.0.1", True: "::1"}
PATIENCE = 10.0


class Client:
    """A TurnClient's shell: one socket, one server."""

    def __init__(self, credentials: Credentials, server: SocketAddress, *, ipv6: bool) -> None:
        self.engine = TurnClient(credentials, secrets.token_bytes, ipv6=ipv6)
        self.events: asyncio.Queue[ClientEvent] = asyncio.Queue()
        self._server = Path(server)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Client]:
        self._endpoint = await bind((SocketAddress(LOOPBACK[self._server.remote.is_ipv6], 0),))
        self._endpoint.set_receiver(self)
        try:
            yield self
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._endpoint.close()

    def flush(self) -> None:
        for datagrams in self.engine.datagrams_to_send(self.now):
            self._endpoint.send(datagrams, self._server)
        while (event := self.engine.next_event()) is not None:
            self.events.put_nowait(event)
        if self._timer is not None:
            self._timer.cancel()
        deadline = self.engine.next_deadline()
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._tick)

    def datagrams_received(self, datagrams: Datagrams, path: Path, now: float) -> None:
        self.engine.receive(datagrams, now)

    def drained(self, now: float) -> None:
        self.flush()

    def writable(self) -> None:
        """What a full socket does not take is lost."""

    def endpoint_failed(self, error: OSError) -> None:
        raise error

    def _tick(self) -> None:
        self.engine.handle_deadline(self.now)
        self.flush()

    async def expect(self, kind: type[ClientEvent]) -> ClientEvent:
        """The next event, which must be of that kind."""
        async with asyncio.timeout(PATIENCE):
            event = await self.events.get()
        assert isinstance(event, kind), event
        return event

    async def echo(self, peer: SocketAddress, datagrams: list[bytes]) -> list[bytes]:
        """Send a batch to a peer, and what comes back."""
        batch = Datagrams(b"".join(datagrams), len(datagrams[0]))
        assert self.engine.send(batch, peer, self.now)
        self.flush()
        back: list[bytes] = []
        while len(back) < len(datagrams):
            event = await self.expect(DataReceived)
            assert isinstance(event, DataReceived)
            assert event.peer == peer
            back.extend(bytes(one) for one in event.datagrams)
        return back


class Echo(asyncio.DatagramProtocol):
    """Sends back what it gets."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)
        self.sources: set[SocketAddress] = set()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.sources.add(SocketAddress(addr[0], addr[1]))
        self.transport.sendto(data, addr)


@contextlib.asynccontextmanager
async def echoing(*, ipv6: bool) -> AsyncIterator[tuple[SocketAddress, Echo]]:
    """An echo on loopback, and its address."""
    loop = asyncio.get_running_loop()
    transport, echo = await loop.create_datagram_endpoint(Echo, (LOOPBACK[ipv6], 0))
    try:
        yield SocketAddress(*transport.get_extra_info("sockname")[:2]), echo
    finally:
        transport.close()
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def running(
    *command: str, ready: Callable[[], bool] = lambda: True
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A foreign program, until it is ready and then until the end of the block."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(PATIENCE):
            while not ready():
                assert process.returncode is None, f"{command[0]} ended"
                await asyncio.sleep(0.02)
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


def free_port(*, ipv6: bool) -> int:
    """A UDP port that nobody has just now."""
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((LOOPBACK[ipv6], 0))
        return int(probe.getsockname()[1])


def coturn(directory: File, port: int, *, ipv6: bool) -> list[str]:
    """The command of a coturn on loopback that takes ephemeral credentials."""
    files = {"--pidfile": "pid", "--userdb": "users", "--log-file": "log"}
    places = [part for flag, name in files.items() for part in (flag, str(directory / name))]
    host = LOOPBACK[ipv6]
    return [
        "turnserver", "-n", "--no-tls", "--no-dtls", "--no-cli", "--simple-log",
        "--allow-loopback-peers", "--use-auth-secret", "--static-auth-secret", SECRET.decode(),
        "--realm", "coturn.test", "-L", host, "-E", host, "-p", str(port),
        "--min-port", "49152", "--max-port", "49999", "-m", "1", *places,
    ]  # fmt: skip
