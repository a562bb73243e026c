"""Both ways: two nodes, each with a server of its own, call each other over one connection.

Only node B is told where the other is. Node A calls back over the connection that B has opened,
which is how a node behind a NAT is reached.

This one uses plain TCP servers and plain CONNECT, to show that any protocol will do; with gRPC,
see unidirectional.py. Any program that speaks to an HTTP proxy can take the client's part.
"""

from __future__ import annotations

import asyncio

from keynet.address import Authority, NodeId
from keynet.config import Config
from keynet.identity import Identity
from keynet.node import ConnectionOpened, Node
from keynet.rpc.proxy.credentials import basic

PORT = 7


async def start_server(name: str) -> asyncio.Server:
    """An ordinary TCP server: it gives back what it is sent, with its name."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{name} heard: ".encode() + await reader.read())
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


def node(identity: Identity, server: asyncio.Server, friend: NodeId, **more: object) -> Node:
    """A node that exposes `server` to `friend`, and has a forward proxy."""
    local = server.sockets[0].getsockname()[1]
    config = Config.of(
        listen="127.0.0.1:0",
        proxy="127.0.0.1:0",
        expose=f"{PORT}=127.0.0.1:{local}",
        allow=str(friend),
        **more,
    )
    return Node(config, identity=identity)


async def ask(through: Node, whom: NodeId, what: str) -> str:
    """CONNECT through a node's forward proxy to a peer's service; send, end, read the answer."""
    assert isinstance(through.proxy, Authority)
    assert through.proxy_token is not None
    reader, writer = await asyncio.open_connection(through.proxy.host, through.proxy.port)
    target = Authority.of_node(whom, PORT)
    head = [
        f"CONNECT {target} HTTP/1.1",
        f"Host: {target}",
        f"Proxy-Authorization: {basic(through.proxy_token)}",
    ]
    writer.write("\r\n".join([*head, "", ""]).encode())
    status = await reader.readuntil(b"\r\n\r\n")
    if not status.startswith(b"HTTP/1.1 200"):
        raise SystemExit(status.decode())
    writer.write(what.encode())
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer.decode()


async def main() -> None:
    a, b = Identity.generate(), Identity.generate()
    server_a, server_b = await start_server("A"), await start_server("B")
    async with server_a, server_b, node(a, server_a, friend=b.node_id) as node_a:
        (udp,) = node_a.endpoint.addresses
        opened = node_a.events.subscribe()
        async with node(b, server_b, a.node_id, peer=f"{a.node_id}@{udp}") as node_b:
            print(await ask(node_b, a.node_id, "good morning"))
            async for event in opened:
                if isinstance(event, ConnectionOpened):
                    print(f"A was dialled from {event.remote}, and now calls back over that")
                    break
            opened.close()
            print(await ask(node_a, b.node_id, "and to you"))


if __name__ == "__main__":
    asyncio.run(main())
