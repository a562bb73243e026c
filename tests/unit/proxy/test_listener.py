"""Listening sockets: ports, and the files of Unix sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
from pathlib import Path

import pytest

from keynet.address import Authority
from keynet.config.values import UnixPath
from keynet.errors import ConfigError
from keynet.rpc.proxy.listener import Listener, listen
from keynet.rpc.proxy.tcp import TcpEnd, connect, receive_buffer

BUFFER = receive_buffer()


class Seen:
    """What connected."""

    def __init__(self) -> None:
        self.ends: asyncio.Queue[TcpEnd] = asyncio.Queue()

    def factory(self) -> TcpEnd:
        return TcpEnd(BUFFER, self.ends.put_nowait)


async def close(listener: Listener) -> None:
    await listener.aclose()
    await listener.wait_closed()


async def test_port_0_becomes_a_real_one_and_sockets_do_not_delay() -> None:
    seen = Seen()
    listener = await listen(Authority("127.0.0.1", 0), seen.factory)
    assert isinstance(listener.address, Authority)
    _, writer = await asyncio.open_connection("127.0.0.1", listener.address.port)
    end = await seen.ends.get()
    sock = end.transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    end.abort()
    writer.close()
    await close(listener)


async def test_a_name_with_several_addresses_gets_one_port() -> None:
    listener = await listen(Authority("localhost", 0), Seen().factory)
    ports = {sock.getsockname()[1] for sock in listener._server.sockets}
    assert isinstance(listener.address, Authority)
    assert ports == {listener.address.port}
    await close(listener)


async def test_a_port_in_use_is_a_config_error() -> None:
    listener = await listen(Authority("127.0.0.1", 0), Seen().factory)
    with pytest.raises(ConfigError, match="in use"):
        await listen(listener.address, Seen().factory)
    await close(listener)


@pytest.mark.parametrize("moment", range(8))
@pytest.mark.parametrize("unix", [True, False], ids=["unix", "tcp"])
async def test_listening_may_be_cancelled_at_any_moment(
    tmp_path: Path, unix: bool, moment: int
) -> None:
    """asyncio's servers once stayed with the loop, and the next one accepted nobody."""
    place = UnixPath(str(tmp_path / "s")) if unix else Authority("127.0.0.1", 0)
    seen = Seen()
    listening = asyncio.ensure_future(listen(place, seen.factory))
    for _ in range(moment):
        await asyncio.sleep(0)
    listening.cancel()
    (first,) = await asyncio.gather(listening, return_exceptions=True)
    if isinstance(first, Listener):
        await close(first)
    second = await listen(place, seen.factory)
    end = await connect(second.address, receive_buffer())
    async with asyncio.timeout(5):
        accepted = await seen.ends.get()
    end.abort()
    accepted.abort()
    await close(second)


async def test_ending_a_connection_that_was_reset_raises_nothing() -> None:
    seen = Seen()
    listener = await listen(Authority("127.0.0.1", 0), seen.factory)
    assert isinstance(listener.address, Authority)
    client = socket.create_connection((listener.address.host, listener.address.port))
    end = await seen.ends.get()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    end.write_eof()  # before the event loop has seen the reset
    await end.wait_closed()
    await close(listener)


class TestUnixSocket:
    async def test_is_ours_alone_and_goes_when_closed(self, tmp_path: Path) -> None:
        path = tmp_path / "proxy"
        listener = await listen(UnixPath(str(path)), Seen().factory)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        await close(listener)
        assert os.listdir(tmp_path) == []

    async def test_can_be_connected_to(self, tmp_path: Path) -> None:
        seen = Seen()
        listener = await listen(UnixPath(str(tmp_path / "proxy")), seen.factory)
        _, writer = await asyncio.open_unix_connection(str(tmp_path / "proxy"))
        (await seen.ends.get()).abort()
        writer.close()
        await close(listener)

    async def test_replaces_a_stale_file(self, tmp_path: Path) -> None:
        path = tmp_path / "proxy"
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
        listener = await listen(UnixPath(str(path)), Seen().factory)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        await close(listener)

    async def test_leaves_a_live_one_alone(self, tmp_path: Path) -> None:
        address = UnixPath(str(tmp_path / "proxy"))
        listener = await listen(address, Seen().factory)
        with pytest.raises(ConfigError, match="in use"):
            await listen(address, Seen().factory)
        assert os.listdir(tmp_path) == ["proxy"]
        await close(listener)

    async def test_leaves_other_files_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "proxy"
        path.write_text("precious")
        with pytest.raises(ConfigError, match="not a socket"):
            await listen(UnixPath(str(path)), Seen().factory)
        assert path.read_text() == "precious"

    async def test_does_not_remove_its_successors_file(self, tmp_path: Path) -> None:
        path = tmp_path / "proxy"
        listener = await listen(UnixPath(str(path)), Seen().factory)
        path.unlink()
        path.write_text("somebody else's")
        await close(listener)
        assert path.exists()

    async def test_without_its_directory_is_a_config_error(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError):
            await listen(UnixPath(str(tmp_path / "no" / "proxy")), Seen().factory)
