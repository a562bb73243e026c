"""Local connections carried through a CONNECT proxy, for `keynet forward`. No CLI here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from keynet.address import Authority
from keynet.config.values import LocalAddress
from keynet.errors import ClosedByPeer, ConnectError, KeynetError, ProxyRefused
from keynet.rpc.proxy import listener
from keynet.rpc.proxy.credentials import basic
from keynet.rpc.proxy.head import AnswerReader, BadHead
from keynet.rpc.proxy.listener import Listener
from keynet.rpc.proxy.tcp import TcpEnd, connect, receive_buffer

HELD = 262144
"""Bytes of one side that wait for the other, before the socket is not read any more."""


@dataclass(frozen=True, slots=True)
class Way:
    """Through which proxy, and to what."""

    proxy: LocalAddress
    token: str | None
    target: Authority


async def listen(local: LocalAddress, way: Way, failed: Callable[[str], None]) -> Listener:
    """Carry each connection to `local` the way told. ConfigError when that cannot be listened on.

    `failed` is told in one line of each connection that got nowhere.
    """
    buffer = receive_buffer()
    running: set[asyncio.Task[None]] = set()

    async def serve(client: TcpEnd) -> None:
        try:
            await _carry(client, way, buffer)
        except KeynetError as error:
            failed(str(error))
            client.abort()  # an end would pass off a part as the whole
        except BaseException:
            client.abort()
            raise

    def connected(client: TcpEnd) -> None:
        task = asyncio.ensure_future(serve(client))
        running.add(task)
        task.add_done_callback(running.discard)

    return await listener.listen(local, lambda: TcpEnd(buffer, connected, HELD))


async def _carry(client: TcpEnd, way: Way, buffer: memoryview) -> None:
    try:
        proxy = await connect(way.proxy, buffer, HELD)
    except OSError as error:
        raise ConnectError(
            f"the node's proxy at {way.proxy} does not answer: does the node still run?"
        ) from error
    try:
        client.write(await _ask(proxy, way))
        await asyncio.gather(_pump(client, proxy), _pump(proxy, client))
    except BaseException:
        proxy.abort()
        raise
    client.close()
    proxy.close()


async def _ask(proxy: TcpEnd, way: Way) -> bytes:
    """CONNECT to the target; what came behind the answer. Raises ProxyRefused or ConnectError."""
    reader = AnswerReader(str(way.target), basic(way.token) if way.token is not None else None)
    proxy.write(reader.request)
    while data := await proxy.receive():
        try:
            answer = reader.feed(data)
        except BadHead as error:
            raise ConnectError(f"what listens on {way.proxy} is no HTTP proxy") from error
        if answer is not None:
            if not 200 <= answer.status < 300:
                told = f"{way.target}: {answer.status} {answer.reason}"
                raise ProxyRefused(answer.status, told)
            return answer.early
    raise ConnectError("the node's proxy broke off its answer")


async def _pump(source: TcpEnd, sink: TcpEnd) -> None:
    while data := await source.receive():
        sink.write(data)
        await sink.drain()
    if source.closed:
        raise source.error or ClosedByPeer("the local connection broke off")
    sink.write_eof()
