"""A node that serves JSON-RPC in memory, and a peer that writes lines by hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from keynet.identity import Identity
from keynet.rpc.access import CallAccess
from keynet.rpc.api import ByteStream
from keynet.rpc.client import Client
from keynet.rpc.dispatch import Dispatcher
from keynet.rpc.jsonrpc import Binding, Settings
from keynet.rpc.limits import Limits
from keynet.rpc.service import Service
from keynet.testing.rpc.network import MemoryNetwork

HERE, THERE = Identity.generate(), Identity.generate()


def probe(log: list[str] | None = None) -> Service:
    """One method of each kind, and some that misbehave. `log` learns what is cancelled."""
    told = [] if log is None else log
    service = Service("probe")

    @service.method
    async def double(number: int, times: int = 1) -> int:
        return number * 2**times

    @service.method
    async def hang() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            told.append("hang cancelled")
            raise

    @service.method
    async def fail() -> None:
        raise ZeroDivisionError("the secret")

    @service.method
    async def count(to: int, text: str = "") -> AsyncIterator[str]:
        try:
            for n in range(to):
                yield f"{n}{text}"
        finally:
            told.append("count ended")

    @service.method
    async def total(numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    @service.method
    async def ignore(numbers: AsyncIterator[Any]) -> None:
        await asyncio.get_running_loop().create_future()

    @service.method
    async def shout(words: AsyncIterator[str]) -> AsyncIterator[str]:
        async for word in words:
            yield word.upper()

    return service


class Hand:
    """A peer's end of a stream, written to by hand."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self._unread = b""

    def say(self, *lines: str | bytes | dict[str, Any]) -> None:
        for line in lines:
            text = msgspec.json.encode(line) if isinstance(line, dict) else line
            data = text.encode() if isinstance(text, str) else text
            self.stream.write(data + b"\n")

    async def hear(self) -> Any:
        """The next line, decoded; None at the end."""
        while b"\n" not in self._unread:
            data = await self.stream.read()
            if not data:
                assert not self._unread, "the last line has no end"
                return None
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return msgspec.json.decode(line)

    async def hear_all(self) -> list[Any]:
        """End this side, and hear everything to the end."""
        self.stream.write_eof()
        heard = []
        while (message := await self.hear()) is not None:
            heard.append(message)
        return heard


class Scene:
    """Two joined networks, the far one of which serves."""

    def __init__(self, dispatch: Dispatcher, settings: Settings) -> None:
        self.dispatch = dispatch
        self.near, self.far = MemoryNetwork.pair(HERE, THERE)
        self.binding = Binding(settings)

    async def hand(self) -> Hand:
        return Hand(await self.near.open_stream(THERE.node_id, "jsonrpc"))

    def client(self) -> Client:
        return Client(self.binding.connect(self.near, THERE.node_id))


def dispatcher(*services: Service, limits: Limits | None = None) -> Dispatcher:
    """Lets anybody call everything."""
    return Dispatcher(services, access=CallAccess(anyone=True), limits=limits or Limits())


@contextlib.asynccontextmanager
async def served(
    *services: Service,
    limits: Limits | None = None,
    settings: Settings | None = None,
    dispatch: Dispatcher | None = None,
) -> AsyncIterator[Scene]:
    """Serve `services`, or `probe()`."""
    if dispatch is None:
        dispatch = dispatcher(*(services or [probe()]), limits=limits)
    scene = Scene(dispatch, settings or Settings())
    server = await scene.binding.serve(scene.far, dispatch)
    try:
        yield scene
    finally:
        await server.aclose(0.0)
        await scene.near.aclose()
        await scene.far.aclose()


def request(method: str, params: Any = None, id: Any = 1) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "method": method, "id": id}
    return message if params is None else message | {"params": params}


def extended(method: str, id: Any = 1, **options: Any) -> dict[str, Any]:
    return request("rpc.call", {"method": method, **options}, id)


def notice(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": f"rpc.{method}", "params": params}
