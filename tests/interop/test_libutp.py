"""Bare uTP with libutp, through npm's utp-native: bytes both ways at once, and both ends' FIN."""

from __future__ import annotations

import asyncio
import socket

import pytest

from keynet.address import SocketAddress
from keynet.errors import ClosedByPeer
from keynet.testing.link import LinkModel
from keynet.testing.relay import LossyRelay
from tests.interop.adapter import Exchanged, bare_utp, exchange
from tests.interop.foreign import Foreign, running

SIZE = 10_000_000
LIMIT = 55.0
BAD_PATH = LinkModel(latency=0.002, loss=0.02, reordering=0.02, reordering_delay=0.005)

pytestmark = pytest.mark.usefixtures("node_modules")


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def assert_same(ours: Exchanged, libutp: Foreign) -> None:
    theirs = await libutp.hear("done")
    assert ours.received == theirs["received"] == SIZE
    assert ours.received_sha256 == theirs["sent_sha256"]
    assert ours.sent_sha256 == theirs["received_sha256"]


@pytest.mark.parametrize("congestion", ["bbr", "cubic", "ledbat"])
async def test_libutp_listens(congestion: str) -> None:
    async with (
        asyncio.timeout(LIMIT),
        running("node", "libutp.js", "listen", str(SIZE)) as libutp,
        bare_utp(congestion) as end,
    ):
        port = (await libutp.hear("listening"))["port"]
        stream = await end.dial(SocketAddress("127.0.0.1", port))
        await assert_same(await exchange(stream, SIZE), libutp)


@pytest.mark.parametrize("congestion", ["bbr", "cubic", "ledbat"])
async def test_libutp_dials(congestion: str) -> None:
    async with asyncio.timeout(LIMIT), bare_utp(congestion) as end:
        host, port = end.address
        async with running("node", "libutp.js", "dial", host, str(port), str(SIZE)) as libutp:
            await assert_same(await exchange(await end.accept(), SIZE), libutp)


async def test_libutp_restarts_at_once_with_the_same_connection_id() -> None:
    """The new process has the old one's port; every process of libutp begins at the same id."""
    async with asyncio.timeout(LIMIT), bare_utp() as end:
        host, port = end.address
        local_port = str(free_udp_port())
        async with running("node", "libutp.js", "hold", host, str(port), local_port) as libutp:
            await libutp.hear("connected")
            first = await end.accept()
            assert await first.read() == b"hello"
        dial = ("dial", host, str(port), str(SIZE), local_port)
        async with running("node", "libutp.js", *dial) as libutp:
            again = await first.connection.accept_stream()
            await assert_same(await exchange(again, SIZE), libutp)
        with pytest.raises(ClosedByPeer, match="began anew"):
            await first.read()


@pytest.mark.slow
async def test_libutp_listens_behind_loss_and_reordering() -> None:
    async with (
        asyncio.timeout(LIMIT),
        running("node", "libutp.js", "listen", str(SIZE)) as libutp,
        bare_utp() as end,
    ):
        port = (await libutp.hear("listening"))["port"]
        async with LossyRelay(SocketAddress("127.0.0.1", port), BAD_PATH, seed=1) as relay:
            stream = await end.dial(relay.address)
            await assert_same(await exchange(stream, SIZE), libutp)
            assert relay.counts()["lost"] > 100
            assert relay.counts()["held_back"] > 100


@pytest.mark.slow
async def test_libutp_dials_through_loss_and_reordering() -> None:
    async with (
        asyncio.timeout(LIMIT),
        bare_utp() as end,
        LossyRelay(end.address, BAD_PATH, seed=2) as relay,
    ):
        host, port = relay.address
        async with running("node", "libutp.js", "dial", host, str(port), str(SIZE)) as libutp:
            await assert_same(await exchange(await end.accept(), SIZE), libutp)
            assert relay.counts()["lost"] > 100
