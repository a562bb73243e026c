"""The binding on real streams: uTP with TLS, over a simulated path, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from keynet.errors import RpcError
from keynet.rpc.client import Client
from keynet.rpc.dispatch import Dispatcher
from keynet.rpc.jsonrpc import Settings, channel_over
from keynet.rpc.jsonrpc.serving import ServedStream
from keynet.rpc.status import Status
from keynet.testing.clock import run
from keynet.testing.link import LinkModel
from keynet.testing.transport.hosts import Hosts, hosts
from keynet.transport.utp import transport
from tests.unit.jsonrpc.scene import dispatcher, probe

PATH = LinkModel(latency=0.05, loss=0.02)


@contextlib.asynccontextmanager
async def joined(dispatch: Dispatcher) -> AsyncIterator[tuple[Hosts, Client, asyncio.Task[None]]]:
    async with hosts(transport, PATH) as both:
        near, far = await both.streams()
        serving = asyncio.create_task(ServedStream(far, b"", dispatch, Settings()).serve())
        async with Client(channel_over(near)) as client:
            yield both, client, serving
        await serving


def test_carries_all_kinds_and_ends_cleanly() -> None:
    async def program() -> None:
        dispatch = dispatcher(probe())
        async with joined(dispatch) as (_, client, serving):
            assert await client.call("probe.double", {"number": 4}) == 8
            wanted = [f"{n}{'x' * 1000}" for n in range(2000)]
            params = {"to": 2000, "text": "x" * 1000}
            assert [item async for item in client.server_stream("probe.count", params)] == wanted
            assert await client.client_stream("probe.total", range(2000)) == sum(range(2000))
            async with client.duplex("probe.shout") as call:
                await call.send("abc" * 100_000)
                assert await anext(call) == "ABC" * 100_000
            began = asyncio.get_running_loop().time()
            await client.aclose()
            await serving
            assert asyncio.get_running_loop().time() - began < 2.0
            assert not dispatch.calls

    run(program())


def test_a_dead_path_ends_both_ends_with_the_reason() -> None:
    told: list[str] = []

    async def program() -> None:
        async with joined(dispatcher(probe(told))) as (both, client, serving):
            calling = asyncio.create_task(client.call("probe.hang", timeout=300))
            await asyncio.sleep(1)
            both.partition()
            with pytest.raises(RpcError) as caught:
                await calling
            assert caught.value.status == Status.UNAVAILABLE
            assert caught.value.message
            await serving

    run(program())
    assert told == ["hang cancelled"]
