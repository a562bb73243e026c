"""The RPC workloads end, and find what a way of carrying calls loses or changes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from benchmarks import rpc

ARGUMENTS = {
    "rpc_unary": {"count": 5},
    "rpc_concurrent": {"count": 64, "at_once": 32},
    "rpc_stream_down": {"count": 10, "size": 100},
    "rpc_stream_up": {"count": 10, "size": 100},
}


class Here:
    """Calls the functions themselves; `faulty` drops a message or changes an answer."""

    def __init__(self, *, faulty: bool = False) -> None:
        self._lost = int(faulty)

    async def echo(self, data: bytes) -> bytes:
        return (await rpc.echo(data))[self._lost :]

    def down(self, count: int, size: int) -> AsyncIterator[bytes]:
        return rpc.down(count - self._lost, size)

    async def up(self, items: AsyncIterator[bytes]) -> int:
        return await rpc.up(items) - self._lost

    async def aclose(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("workload", rpc.WORKLOADS)
async def test_workloads_give_figures(workload: str) -> None:
    values = await rpc.WORKLOADS[workload](Here(), **ARGUMENTS[workload])
    assert values
    assert all(value > 0 for value in values.values())


@pytest.mark.parametrize("workload", rpc.WORKLOADS)
async def test_workloads_find_losses(workload: str) -> None:
    with pytest.raises(AssertionError):
        await rpc.WORKLOADS[workload](Here(faulty=True), **ARGUMENTS[workload])
