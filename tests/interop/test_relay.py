"""The lossy relay, on real loopback sockets: it carries both ways and loses what it should."""

from __future__ import annotations

import asyncio
import socket

from keynet.address import SocketAddress
from keynet.testing.link import LinkModel
from keynet.testing.relay import LossyRelay


def bound_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    return sock


async def test_carries_both_ways() -> None:
    loop = asyncio.get_running_loop()
    with bound_socket() as server, bound_socket() as client:
        target = SocketAddress(*server.getsockname())
        async with LossyRelay(target, LinkModel(latency=0.001)) as relay, asyncio.timeout(10):
            client.connect(relay.address)
            for n in range(3):
                await loop.sock_sendall(client, b"hello %d" % n)
                heard, source = await loop.sock_recvfrom(server, 100)
                assert heard == b"hello %d" % n
                assert source != client.getsockname()
                await loop.sock_sendto(server, heard.upper(), source)
                assert await loop.sock_recv(client, 100) == b"HELLO %d" % n


async def test_loses_its_share() -> None:
    loop = asyncio.get_running_loop()
    with bound_socket() as server, bound_socket() as client:
        target = SocketAddress(*server.getsockname())
        model = LinkModel(latency=0.0, loss=0.2, duplication=0.1, reordering=0.1)
        async with LossyRelay(target, model, seed=3) as relay, asyncio.timeout(10):
            client.connect(relay.address)
            for _ in range(500):
                await loop.sock_sendall(client, b"x")
            while relay.counts()["sent"] < 500:  # noqa: ASYNC110 - the sockets are real
                await asyncio.sleep(0.001)
            counts = relay.counts()
    assert 60 < counts["lost"] < 140
    assert counts["duplicated"] > 10
    assert counts["held_back"] > 10
