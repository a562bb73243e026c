"""One service definition, all four kinds of calls, over both built-in bindings.

Both nodes run in this process to keep the example in one file. In earnest each has its own, and
either side can be the command line:

    keynet run --serve rpc_greeter:greeter --allow-call NODEID    # node A
    keynet call NODEID greeter.hello '{"name": "you"}'            # node B
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import msgspec

from keynet.config import Config
from keynet.errors import RpcError
from keynet.identity import Identity
from keynet.node import Node
from keynet.rpc.api import Call
from keynet.rpc.client import Client
from keynet.rpc.service import Service
from keynet.rpc.status import Status, rpc_error

greeter = Service("greeter")


class Greeting(msgspec.Struct):
    """What a call may carry: structs, dataclasses and everything builtin."""

    text: str
    to: str


@greeter.method
async def hello(name: str, call: Call, greeting: str = "hello") -> Greeting:
    """Unary. `call` is filled in at the serving node: the caller's proven id, and more."""
    if not name:
        raise rpc_error(Status.INVALID_ARGUMENT, "nobody has no name")
    return Greeting(f"{greeting} {name}", to=call.peer.node_id.short)


@greeter.method
async def count(to: int) -> AsyncIterator[int]:
    """Server-streaming: the caller's pace holds the loop back."""
    for number in range(1, to + 1):
        yield number


@greeter.method
async def total(numbers: AsyncIterator[int]) -> int:
    """Client-streaming."""
    return sum([number async for number in numbers])


@greeter.method
async def shout(words: AsyncIterator[str]) -> AsyncIterator[str]:
    """Duplex: each answer leaves as soon as its question has come."""
    async for word in words:
        yield word.upper()


async def make_calls(client: Client) -> None:
    """The four kinds. Methods given as objects are typed; names such as "greeter.hello" do, too."""
    greeting = await client.call(hello, {"name": "node A"})
    print(" unary:", greeting.text)

    print(" server stream:", [number async for number in client.server_stream(count, {"to": 3})])

    print(" client stream:", await client.client_stream(total, [1, 2, 3]))

    async with client.duplex(shout) as call:
        for word in ("one", "two"):
            await call.send(word)
            print(" duplex:", word, "->", await anext(call))
        await call.finish_sending()

    try:
        await client.call(hello, {"name": ""}, timeout=5)
    except RpcError as error:
        print(" refused:", Status(error.status).name, error.message)


async def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    a, b = Identity.generate(), Identity.generate()
    serving = Config.of(listen="127.0.0.1:0", rpc="grpc", allow_call=f"{b.node_id}=greeter")
    async with Node(serving, identity=a, services=[greeter]) as node_a:
        (udp,) = node_a.endpoint.addresses
        calling = Config.of(listen="127.0.0.1:0", rpc="grpc", peer=f"{a.node_id}@{udp}")
        async with Node(calling, identity=b) as node_b:
            for binding in ("jsonrpc", "grpc"):
                print(f"over {binding}:")
                await make_calls(node_b.client(a.node_id, binding))


if __name__ == "__main__":
    asyncio.run(main())
