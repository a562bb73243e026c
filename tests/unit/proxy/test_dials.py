"""One dial for all clients that want the same node at the same time."""

from __future__ import annotations

import asyncio

import pytest

from keynet.address import NodeId, SocketAddress
from keynet.errors import LookupFailed
from keynet.identity import Identity
from keynet.rpc.proxy.api import Target
from keynet.rpc.proxy.dials import Dials
from keynet.testing.proxies import MemoryDialer
from keynet.testing.streams import connected

NODE, OTHER = NodeId(b"\1" * 32), NodeId(b"\2" * 32)


@pytest.fixture
async def dialer() -> MemoryDialer:
    dialer = MemoryDialer(connected(Identity.generate(), Identity.generate())[0])
    dialer.gate.clear()
    return dialer


async def start(dials: Dials, *targets: Target) -> list[asyncio.Task[object]]:
    tasks = [asyncio.ensure_future(dials.connect(target)) for target in targets]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_clients_of_one_node_share_a_dial(dialer: MemoryDialer) -> None:
    dials = Dials(dialer)
    tasks = await start(dials, Target(NODE, None, 80), Target(NODE, None, 81), Target(NODE))
    assert len(dialer.dialled) == 1
    dialer.gate.set()
    assert await asyncio.gather(*tasks) == [dialer.connection] * 3
    assert len(dials) == 0


async def test_other_nodes_and_named_addresses_are_dialled_by_themselves(
    dialer: MemoryDialer,
) -> None:
    address = SocketAddress("192.0.2.1", 4000)
    tasks = await start(Dials(dialer), Target(NODE), Target(OTHER), Target(NODE, address))
    assert len(dialer.dialled) == 3
    dialer.gate.set()
    await asyncio.gather(*tasks)


async def test_a_failure_is_everybodys_and_the_next_client_dials_anew(dialer: MemoryDialer) -> None:
    dials = Dials(dialer)
    tasks = await start(dials, Target(NODE), Target(NODE))
    dialer.error = LookupFailed("nobody knows it")
    dialer.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [LookupFailed, LookupFailed]
    dialer.error = None
    assert await dials.connect(Target(NODE)) is dialer.connection


async def test_the_dial_goes_on_while_anybody_waits(dialer: MemoryDialer) -> None:
    first, second = await start(Dials(dialer), Target(NODE), Target(NODE))
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert dialer.cancelled == 0
    dialer.gate.set()
    assert await second is dialer.connection


async def test_the_dial_is_cancelled_when_the_last_client_leaves(dialer: MemoryDialer) -> None:
    dials = Dials(dialer)
    tasks = await start(dials, Target(NODE), Target(NODE))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)
    assert dialer.cancelled == 1
    assert len(dials) == 0


async def test_who_comes_after_the_last_one_left_dials_anew(dialer: MemoryDialer) -> None:
    dials = Dials(dialer)
    (leaving,) = await start(dials, Target(NODE))
    leaving.cancel()
    dialer.gate.set()
    assert await dials.connect(Target(NODE)) is dialer.connection
    await asyncio.gather(leaving, return_exceptions=True)
    assert len(dials) == 0
