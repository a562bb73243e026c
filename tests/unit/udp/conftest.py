"""Endpoints of every shell over loopback, and a receiver that remembers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from keynet.address import SocketAddress
from keynet.engine import Datagrams
from keynet.udp.endpoint import UdpEndpoint, bind
from keynet.udp.path import Path

Opener = Callable[..., Awaitable[UdpEndpoint]]


class Recorder:
    """A receiver that copies all it gets."""

    def __init__(self) -> None:
        self.batches: list[tuple[list[bytes], Path]] = []
        self.wakeups: list[int] = []
        """How many datagrams had come when each wake-up ended."""
        self.failures: list[OSError] = []
        self.writable_calls = 0
        self.on_batch: Callable[[Datagrams, Path], object] = lambda datagrams, path: None
        self._changed = asyncio.Event()

    @property
    def datagrams(self) -> list[bytes]:
        return [one for batch, _ in self.batches for one in batch]

    @property
    def paths(self) -> set[Path]:
        return {path for _, path in self.batches}

    def datagrams_received(self, datagrams: Datagrams, path: Path, now: float) -> None:
        self.batches.append(([bytes(one) for one in datagrams], path))
        self.on_batch(datagrams, path)
        self._changed.set()

    def drained(self, now: float) -> None:
        self.wakeups.append(len(self.datagrams))
        self._changed.set()

    def writable(self) -> None:
        self.writable_calls += 1
        self._changed.set()

    def endpoint_failed(self, error: OSError) -> None:
        self.failures.append(error)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something to become true that a call to the receiver makes true."""
        async with asyncio.timeout(10):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture(params=["batched", "plain", "portable"])
def shell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["127.0.0.1", "::1"])
def host(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def open_endpoint(shell: str) -> AsyncIterator[Opener]:
    """Binds endpoints of the shell under test, and closes them."""
    opened: list[UdpEndpoint] = []

    async def opener(*hosts: str, receiver: Recorder | None = None) -> UdpEndpoint:
        endpoint = await bind([SocketAddress(host, 0) for host in hosts], shell=shell)
        assert isinstance(endpoint, UdpEndpoint)
        opened.append(endpoint)
        if receiver is not None:
            endpoint.set_receiver(receiver)
        return endpoint

    yield opener
    for endpoint in opened:
        endpoint.close()
    await asyncio.sleep(0)  # asyncio's own transports close one turn later
    await asyncio.sleep(0)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()
