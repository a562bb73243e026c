"""Bare uTP with libtorrent: a BitTorrent handshake (BEP 3, BEP 10) each way."""

from __future__ import annotations

import asyncio
import hashlib
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from keynet.address import SocketAddress
from keynet.transport.stream import Stream
from tests.interop.adapter import bare_utp

libtorrent: Any = pytest.importorskip("libtorrent", reason="libtorrent is not installed")

pytestmark = pytest.mark.may_leak_sockets

PROTOCOL = b"\x13BitTorrent protocol"
EXTENSIONS = bytes([0, 0, 0, 0, 0, 0x10, 0, 0])
"""The bit of BEP 10, so that libtorrent sends its extended handshake."""
EXTENDED = 20
INFO_HASH = hashlib.sha1(b"keynet interop", usedforsecurity=False).digest()
OUR_ID = b"-KN0001-" + b"0" * 12
HANDSHAKE = PROTOCOL + EXTENSIONS + INFO_HASH + OUR_ID
LIMIT = 30.0


@pytest.fixture
def session() -> Any:
    """A libtorrent session that speaks unencrypted uTP on loopback and nothing else."""
    off = ("incoming_tcp", "outgoing_tcp", "dht", "lsd", "upnp", "natpmp")
    return libtorrent.session(
        {
            "listen_interfaces": "127.0.0.1:0",
            "enable_incoming_utp": True,
            "enable_outgoing_utp": True,
            **{f"enable_{name}": False for name in off},
            "out_enc_policy": 2,
            "in_enc_policy": 2,
        }
    )


@pytest.fixture
def torrent(session: Any, tmp_path: Path) -> Any:
    """A torrent of which nothing is known but its hash."""
    parameters = libtorrent.add_torrent_params()
    parameters.info_hashes = libtorrent.info_hash_t(libtorrent.sha1_hash(INFO_HASH))
    parameters.save_path = os.fspath(tmp_path)
    return session.add_torrent(parameters)


async def listening_port(session: Any) -> int:
    """Where libtorrent listens; it opens its sockets in a thread of its own."""
    while not (port := session.listen_port()):  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
    return int(port)


async def read_exactly(stream: Stream, size: int, data: bytes = b"") -> tuple[bytes, bytes]:
    """`size` bytes, and what came after them already."""
    while len(data) < size:
        more = await stream.read()
        assert more, f"libtorrent hung up after {data!r}"
        data += more
    return data[:size], data[size:]


async def assert_greets(stream: Stream) -> None:
    """Read libtorrent's handshake and its extended one: it has read and liked ours by then."""
    greeting, rest = await read_exactly(stream, len(HANDSHAKE))
    assert greeting.startswith(PROTOCOL)
    assert greeting[28:48] == INFO_HASH
    head, rest = await read_exactly(stream, 5, rest)
    length, kind = struct.unpack("!IB", head)
    assert kind == EXTENDED
    message, _ = await read_exactly(stream, length - 1, rest)
    assert message[1:].startswith(b"d")
    assert b"ut_metadata" in message


@pytest.mark.usefixtures("torrent")
async def test_libtorrent_listens(session: Any) -> None:
    async with asyncio.timeout(LIMIT), bare_utp() as end:
        address = SocketAddress("127.0.0.1", await listening_port(session))
        stream = await end.dial(address)
        stream.write(HANDSHAKE)
        await assert_greets(stream)
        await stream.aclose()


async def test_libtorrent_dials(session: Any, torrent: Any) -> None:
    async with asyncio.timeout(LIMIT), bare_utp() as end:
        await listening_port(session)
        torrent.connect_peer(tuple(end.address))
        stream = await end.accept()
        stream.write(HANDSHAKE)
        await assert_greets(stream)
        await stream.aclose()
