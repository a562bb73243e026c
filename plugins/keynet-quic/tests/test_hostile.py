"""A peer that has proved who it is may still send anything: frames of nonsense, well encrypted."""

from __future__ import annotations

import random

import pytest
from aioquic.buffer import encode_uint_var
from aioquic.quic.connection import QuicConnection
from aioquic.tls import Epoch
from keynet_quic import transport

from keynet.engine import Datagrams
from keynet.errors import RemoteProtocolError
from keynet.testing.transport.scene import Scene

FRAMES = [*range(0x20), 0x30, 0x31]
NUMBERS = (0, 1, 2, 3, 4, 63, 64, 255, 16383, 70_000, 1 << 20, (1 << 40) + 2, (1 << 62) - 1)


def packet(connection: QuicConnection, payload: bytes) -> bytes:
    """What `connection` would send, with that payload."""
    number, crypto = connection._packet_number, connection._cryptos[Epoch.ONE_RTT]
    connection._packet_number += 1
    first = 0x41 | crypto.key_phase << 2
    header = bytes([first]) + connection._peer_cid.cid + (number & 0xFFFF).to_bytes(2, "big")
    return crypto.encrypt_packet(header, payload, number)


def frames(rng: random.Random) -> bytes:
    """A few frames, whose fields are whole and whose values are anything."""
    out = b""
    for _ in range(rng.randrange(1, 4)):
        out += encode_uint_var(rng.choice(FRAMES))
        out += b"".join(encode_uint_var(rng.choice(NUMBERS)) for _ in range(rng.randrange(6)))
        out += rng.randbytes(rng.choice((0, 0, 8, 40)))
    return out.ljust(8, b"\0")


@pytest.mark.parametrize("victim", ["dialer", "listener"])
def test_frames_of_nonsense_raise_nothing(victim: str) -> None:
    dropped = 0
    for seed in range(150):
        rng = random.Random(seed)
        scene = Scene(transport, seed=seed).connect()
        scene.open()
        sides = scene.pair.a.engine, scene.pair.b.engine
        engine, peer = sides if victim == "dialer" else sides[::-1]
        for _ in range(10):
            engine.receive(Datagrams(packet(peer._connection, frames(rng))), scene.pair.now)
            engine.datagrams_to_send(scene.pair.now)
            engine.handle_deadline(scene.pair.now + 1)
        scene.run(1.0)
        ended = (scene.dialer if victim == "dialer" else scene.listener).terminated
        dropped += ended is not None and isinstance(ended.error, RemoteProtocolError)
    assert dropped > 75, "most of it breaks the protocol"
