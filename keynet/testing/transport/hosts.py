"""Checks of a transport under the real asyncio shells, over FakeNet: T-50 to T-54."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable

from keynet.errors import ClosedError, ConnectionLost, KeynetError
from keynet.signalling.settings import LinkSettings
from keynet.testing.clock import run
from keynet.testing.fakenet import FakeNet
from keynet.testing.link import LinkModel
from keynet.testing.transport.rules import TransportFactory, rule
from keynet.testing.transport.scene import identity, payload
from keynet.testing.transport.streams import MOST_BUFFERED, same
from keynet.transport.api import Capability
from keynet.transport.connection import Connection
from keynet.transport.host import Host
from keynet.transport.stream import Stream

CHUNK = 65536
PATIENT = LinkSettings(path_timeout=1e6, loss_timeout=1e6)
"""Links that notice no loss: what a dead path does is the transport's to notice here."""


class Hosts:
    """A dialer, a listener, and the network between them."""

    def __init__(self, make: TransportFactory, link: LinkModel | None) -> None:
        self.net = FakeNet(0, link)
        self.endpoints = self.net.endpoint(), self.net.endpoint()
        self.dialer, self.listener = (
            Host(endpoint, identity(name), [make()], link_settings=PATIENT)
            for endpoint, name in zip(self.endpoints, ("dialer", "listener"), strict=True)
        )

    async def connect(self) -> Connection:
        node_id = self.listener.identity.node_id
        return await self.dialer.connect(node_id, self.endpoints[1].addresses[0])

    async def streams(self) -> tuple[Stream, Stream]:
        """Both ends of a new stream, on which nothing has been sent. Not beside `echoing`."""
        here = await (await self.connect()).open_stream()
        here.write(b"!")
        there = await (await self.listener.accept()).accept_stream()
        assert await there.read() == b"!"
        return here, there

    def partition(self) -> None:
        self.net.set_link(*self.endpoints, LinkModel(partitioned=True))


@contextlib.asynccontextmanager
async def hosts(make: TransportFactory, link: LinkModel | None = None) -> AsyncIterator[Hosts]:
    """Two hosts, closed again at the end, however that comes."""
    both = Hosts(make, link)
    try:
        yield both
    finally:
        await asyncio.gather(both.dialer.aclose(), both.listener.aclose())
        for endpoint in both.endpoints:
            endpoint.close()


@contextlib.asynccontextmanager
async def echoing(host: Host) -> AsyncIterator[None]:
    """Give back to every peer, on every stream, what it sends."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_serve(host, group))
        yield
        await host.aclose()


async def _serve(host: Host, group: asyncio.TaskGroup) -> None:
    with contextlib.suppress(ClosedError):
        while True:
            group.create_task(_answer(await host.accept(), group))


async def _answer(connection: Connection, group: asyncio.TaskGroup) -> None:
    with contextlib.suppress(KeynetError):
        while True:
            group.create_task(_echo(await connection.accept_stream()))


async def _echo(stream: Stream) -> None:
    with contextlib.suppress(KeynetError):
        while data := await stream.read():
            stream.write(data)
            await stream.drain()
        stream.write_eof()
        await stream.wait_closed()


async def ask(connection: Connection, data: bytes) -> bytes:
    """Send `data` on a new stream and return all that comes back."""
    stream = await connection.open_stream()
    try:
        stream.write(data)
        stream.write_eof()
        answer = bytearray()
        while piece := await stream.read():
            answer += piece
        await stream.wait_closed()
        return bytes(answer)
    finally:
        stream.reset()


@rule("T-50", "under the shells it carries calls, and leaves nothing behind", Capability.STREAMS)
def check_runs_under_the_shells(make: TransportFactory) -> None:
    async def program() -> None:
        async with hosts(make) as both, echoing(both.listener):
            connection = await both.connect()
            assert connection.peer.node_id == both.listener.identity.node_id
            questions = [payload(50_000, n) for n in range(5)]
            answers = await asyncio.gather(*(ask(connection, data) for data in questions))
            for question, answer in zip(questions, answers, strict=True):
                same(answer, question, "through the shells")

    run(program())


@rule("T-51", "whatever waits may be cancelled at any moment", Capability.STREAMS)
def check_survives_cancellation(make: TransportFactory) -> None:
    async def call(both: Hosts) -> bytes:
        return await ask(await both.connect(), payload(20_000, 51))

    async def program() -> None:
        async with hosts(make) as both, echoing(both.listener):
            for moment in range(30):
                calling = asyncio.create_task(call(both))
                await asyncio.sleep(moment * 0.0045)
                calling.cancel()
                outcome, *_ = await asyncio.gather(calling, return_exceptions=True)
                expected = bytes | asyncio.CancelledError
                assert isinstance(outcome, expected), f"a cancelled call gave {outcome!r}"
            same(await call(both), payload(20_000, 51), "after many cancelled calls")

    run(program())


@rule("T-52", "closing twice is harmless, and what is closed says so", Capability.STREAMS)
def check_closes_under_the_shells(make: TransportFactory) -> None:
    async def program() -> None:
        async with hosts(make) as both:
            here, there = await both.streams()
            connection = here.connection
            reading = asyncio.create_task(here.read())
            await asyncio.sleep(0)
            await asyncio.gather(connection.aclose(), connection.aclose())
            await connection.aclose()
            await raises_closed(reading, "a read that was waiting")
            await raises_closed(here.read(), "a read")
            await raises_closed(here.drain(), "a drain")
            await raises_closed(connection.open_stream(), "open_stream")
            async with asyncio.timeout(10):
                await there.wait_closed()

    run(program())


async def raises_closed(waiting: Awaitable[object], what: str) -> None:
    try:
        await waiting
    except ClosedError:
        return
    raise AssertionError(f"{what} on something closed did not raise ClosedError")


@rule("T-53", "drain waits for a peer that does not read", Capability.STREAMS)
def check_pushes_back_under_the_shells(make: TransportFactory) -> None:
    async def program() -> None:
        async with hosts(make) as both:
            here, there = await both.streams()
            sent = bytearray()
            try:
                async with asyncio.timeout(15):
                    while len(sent) <= MOST_BUFFERED:
                        piece = payload(CHUNK, len(sent))
                        here.write(piece)
                        sent += piece
                        await here.drain()
            except TimeoutError:
                here.write_eof()
            assert len(sent) <= MOST_BUFFERED, f"{len(sent)} bytes were taken that nobody read"
            received = bytearray()
            while data := await there.read():
                received += data
            same(received, bytes(sent), "after the reader went on")

    run(program())


@rule("T-54", "whoever waits on a dead path is told", Capability.STREAMS)
def check_tells_waiters_of_a_dead_path(make: TransportFactory) -> None:
    async def program() -> None:
        async with hosts(make) as both:
            here, _ = await both.streams()
            both.partition()
            here.write(b"into the void")
            try:
                async with asyncio.timeout(60):
                    await here.read()
            except ConnectionLost:
                return
            raise AssertionError("a read on a dead path did not raise ConnectionLost")

    run(program())
