"""The demo's gRPC service: all four kinds of call, over bytes, so that no protoc is needed.

Run as a program, it is the server: `python -m keynet.cli.demo_service` prints its port and serves
until a signal comes or standard input ends. Knows nothing of nodes and proxies.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from keynet.cli.signals import before, stop_event

SERVICE = "keynet.demo.Words"


async def greet(request: bytes, context: Any) -> bytes:
    """Unary: a greeting."""
    return b"hello " + request


async def spell(request: bytes, context: Any) -> AsyncIterator[bytes]:
    """Server-streaming: the word, letter by letter."""
    for letter in request.decode():
        yield letter.encode()


async def join(requests: AsyncIterator[bytes], context: Any) -> bytes:
    """Client-streaming: the words as one sentence."""
    return b" ".join([word async for word in requests])


async def shout(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    """Duplex: each word back, louder, before the next one is sent."""
    async for word in requests:
        yield word.upper() + b"!"


def handler() -> grpc.GenericRpcHandler:
    """The four methods, with bytes going in and out as they are."""
    methods = {
        "Greet": grpc.unary_unary_rpc_method_handler(greet),
        "Spell": grpc.unary_stream_rpc_method_handler(spell),
        "Join": grpc.stream_unary_rpc_method_handler(join),
        "Shout": grpc.stream_stream_rpc_method_handler(shout),
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)


async def call_all(channel: grpc.aio.Channel) -> AsyncIterator[tuple[str, str, str]]:
    """Make each kind of call once: its kind, what was asked and what came back, as they end."""
    path = f"/{SERVICE}"
    answer = await channel.unary_unary(f"{path}/Greet")(b"keynet")
    yield "unary", 'Greet("keynet")', repr(answer.decode())

    letters = [letter.decode() async for letter in channel.unary_stream(f"{path}/Spell")(b"uTP")]
    yield "server-streaming", 'Spell("uTP")', repr(letters)

    words = iter([b"one", b"socket", b"for", b"everything"])
    answer = await channel.stream_unary(f"{path}/Join")(words)
    yield "client-streaming", "Join of 4 words", repr(answer.decode())

    duplex = channel.stream_stream(f"{path}/Shout")()
    louder = []
    for word in (b"ping", b"pong"):
        await duplex.write(word)
        louder.append((await duplex.read()).decode())
    await duplex.done_writing()
    yield "duplex", "Shout, word by word", repr(louder)


async def serve() -> None:
    """Serve on a free port of 127.0.0.1, told on standard output, until told to stop."""
    stop = stop_event()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await before(stop, _input_ended())
    await server.stop(grace=1)


async def _input_ended() -> None:
    """So that the server ends, too, when whoever started it is gone."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        await reader.read()
    finally:
        pipe.close()


if __name__ == "__main__":
    asyncio.run(serve())
