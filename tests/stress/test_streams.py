"""Many streams at once over real sockets, for a while: exact bytes, or a reset that was meant.

`make stress` runs it: SEED repeats a run, EACH is the seconds for each path. It is not part of
`make test`, because it takes real time.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from keynet.address import SocketAddress
from keynet.identity import Identity
from keynet.testing.link import LinkModel
from keynet.testing.relay import LossyRelay
from keynet.transport.connection import Connection
from keynet.transport.host import Host
from keynet.transport.utp import transport
from keynet.udp.endpoint import bind
from tests.stress.traffic import accept_all, draw, open_one

SEED = int(os.environ.get("SEED") or random.randrange(1 << 32))
EACH = float(os.environ.get("EACH") or 12)
STREAMS = 20
"""Opened by each end, at once."""
ROUND_LIMIT = 60.0
LOOPBACK = SocketAddress("127.0.0.1", 0)
BAD_PATH = LinkModel(latency=0.003, loss=0.02, reordering=0.02, reordering_delay=0.006, mtu=1400)

pytestmark = [pytest.mark.stress, pytest.mark.timeout(EACH + ROUND_LIMIT + 10)]


@dataclass(frozen=True, slots=True)
class Ends:
    """Both hosts, and the connection as each of them has it."""

    hosts: tuple[Host, Host]
    connections: tuple[Connection, Connection]


@asynccontextmanager
async def connected(shell: str, path: LinkModel | None = None) -> AsyncIterator[Ends]:
    """Two hosts on loopback, behind a bad path if one is given."""
    endpoints = [await bind([LOOPBACK], shell=shell) for _ in range(2)]
    dialer, listener = (Host(one, Identity.generate(), [transport()]) for one in endpoints)
    address = endpoints[1].addresses[0]
    try:
        async with LossyRelay(address, path or LinkModel(), seed=SEED) as relay:
            remote = address if path is None else relay.address
            here = await dialer.connect(listener.identity.node_id, remote)
            yield Ends((dialer, listener), (here, await listener.accept()))
            await asyncio.gather(dialer.aclose(), listener.aclose())
    finally:
        await asyncio.gather(dialer.aclose(), listener.aclose())
        for endpoint in endpoints:
            endpoint.close()


async def one_round(ends: Ends, rng: random.Random, largest: int) -> int:
    """Streams from both ends at once, and a rotation under way; returns the bytes that arrived."""
    tasks = []
    changing = ends.hosts[rng.randrange(2)]
    async with asyncio.timeout(ROUND_LIMIT), asyncio.TaskGroup() as group:
        for opener, acceptor in (ends.connections, ends.connections[::-1]):
            plans = draw(rng, STREAMS, largest)
            tasks.append(group.create_task(accept_all(acceptor, plans)))
            tasks += [group.create_task(open_one(opener, plan)) for plan in plans]
        await asyncio.sleep(0.01)
        changing.identity = changing.identity.rotate()
    return sum(task.result() for task in tasks)


async def stress(name: str, ends: Ends, largest: int) -> None:
    """Rounds until time is up, each with a seed that is printed."""
    until, rounds, total = time.monotonic() + EACH, 0, 0
    print(f"\n{name}: SEED={SEED}, {STREAMS} streams each way, up to {largest:,} bytes", flush=True)
    while time.monotonic() < until:
        began = time.monotonic()
        arrived = await one_round(ends, random.Random(f"{SEED} {name} {rounds}"), largest)
        rounds, total = rounds + 1, total + arrived
        took = time.monotonic() - began
        print(f"  round {rounds}: {arrived:>12,} bytes in {took:.2f} s", flush=True)
    for connection in ends.connections:
        assert connection.stream_count == 0
        assert not connection.closed, connection.error
    assert total > 0


@pytest.mark.parametrize("shell", ["batched", "plain", "portable"])
async def test_streams_over_loopback(shell: str) -> None:
    async with connected(shell) as ends:
        await stress(shell, ends, 4 << 20)


async def test_streams_over_a_bad_path() -> None:
    """2 % loss, 2 % reordering, and a middle that takes less than either interface."""
    async with connected("auto", BAD_PATH) as ends:
        await stress("bad path", ends, 200_000)
        packet_size = ends.connections[0].stats()["packet_size"]
        assert isinstance(packet_size, int)
        assert packet_size <= BAD_PATH.mtu
