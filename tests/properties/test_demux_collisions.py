"""However protocols with colliding first bytes are mixed on one socket, the rules decide alone.

The oracle below is the rules written down a second time, for one datagram, without any batching.
"""

from __future__ import annotations

import binascii
from collections import Counter
from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from keynet.address import SocketAddress
from keynet.engine import Buffer, Datagrams
from keynet.udp.demux import Demultiplexer, Drop, Kind

SOURCES = [SocketAddress("203.0.113.1", port) for port in (1, 2, 3)]
TURN_SERVER = SocketAddress("198.51.100.1", 3478)
QUIC_ID = bytes(range(0x80, 0x88))
WIREGUARD_INDEX = b"\x11\x22\x33\x44"


class Utp:
    name = "utp"
    first_bytes = bytes([0x01, 0x11, 0x21, 0x31, 0x41])

    def claims(self, datagram: Buffer) -> bool:
        return len(datagram) == 20 and bytes(datagram[:2]) == b"\x41\x00"


class Quic:
    name = "quic"
    first_bytes = bytes(range(0x40, 0x100))

    def claims(self, datagram: Buffer) -> bool:
        return datagram[0] >= 0xC0 and bytes(datagram[1:5]) == b"\x00\x00\x00\x01"

    def connection_id(self, datagram: Buffer) -> bytes | None:
        if len(datagram) < 9 or not 0x40 <= datagram[0] <= 0x7F:
            return None
        return bytes(datagram[1:9])


class WireGuard:
    name = "wireguard"  # without first_bytes: it must be asked about everything

    def claims(self, datagram: Buffer) -> bool:
        return len(datagram) == 148 and bytes(datagram[:4]) == b"\x01\x00\x00\x00"

    def connection_id(self, datagram: Buffer) -> bytes | None:
        if bytes(datagram[1:4]) != bytes(3) or datagram[0] not in (2, 3, 4):
            return None
        start = 8 if datagram[0] == 2 else 4
        return bytes(datagram[start : start + 4])


def checksum(message: bytes) -> bytes:
    return (binascii.crc32(message) ^ 0x5354554E).to_bytes(4)


def stun(size: int, kind: int, fingerprint: bool, sound: bool) -> bytes:
    """A message of `size` bytes, with or without a sound or broken FINGERPRINT."""
    message = kind.to_bytes(2) + (size - 20).to_bytes(2) + b"\x21\x12\xa4\x42" + bytes(size - 8)
    if not fingerprint or size < 28:
        return message
    message = message[: size - 8]
    return message + b"\x80\x28\x00\x04" + (checksum(message) if sound else b"oops")


@st.composite
def datagram(draw: st.DrawFn, size: int) -> bytes:
    """`size` bytes of one of the protocols, or of something that nearly is."""
    rest = draw(st.sampled_from([bytes(size), bytes([0x21]) * size, bytes([0xFF]) * size]))
    heads = [
        *(bytes([first, 0, 0, 1]) for first in Utp.first_bytes),
        b"\x01\x00\x00\x00",
        b"\x04\x00\x00\x00" + WIREGUARD_INDEX,
        b"\x02\x00\x00\x00\x00\x00\x00\x00" + WIREGUARD_INDEX,
        *(bytes([first]) + QUIC_ID for first in (0x40, 0x41, 0x7F)),
        b"\xc3\x00\x00\x00\x01\x08",
        b"\x40\x01" + max(0, size - 4).to_bytes(2),
        b"\x01\x01\x00\x00\x21\x12\xa4\x42",
        draw(st.binary(min_size=1, max_size=9)),
    ]
    if size >= 20 and size % 4 == 0:
        kind = draw(st.sampled_from([0x0001, 0x0101, 0x0111]))
        heads.append(stun(size, kind, draw(st.booleans()), draw(st.booleans())))
    head = draw(st.sampled_from(heads))[:size]
    return head + rest[len(head) :]


@st.composite
def batches(draw: st.DrawFn) -> Datagrams:
    stride = draw(st.sampled_from([1, 3, 5, 9, 20, 28, 100, 148]))
    parts = draw(st.lists(datagram(stride), min_size=1, max_size=6))
    if draw(st.booleans()):
        parts.append(draw(datagram(draw(st.integers(1, stride)))))
    return Datagrams(memoryview(b"".join(parts)), stride)


def is_stun(one: bytes) -> bool:
    if len(one) < 20 or one[0] >> 6 or one[4:8] != b"\x21\x12\xa4\x42":
        return False
    if len(one) % 4 or int.from_bytes(one[2:4]) + 20 != len(one):
        return False
    return one[-8:-4] != b"\x80\x28\x00\x04" or len(one) < 28 or checksum(one[:-8]) == one[-4:]


def expected(one: bytes, source: SocketAddress, bound: dict[SocketAddress, str]) -> object:
    """The rules for one datagram."""
    channel = len(one) >= 4 and one[0] >> 4 == 4 and one[2:4] != b""
    channel = channel and 0 <= len(one) - 4 - int.from_bytes(one[2:4]) <= 3
    if source == TURN_SERVER and (channel or is_stun(one)):
        return Kind.RELAYED, "relay", None
    if is_stun(one):
        return Kind.STUN, None, None
    if Quic().connection_id(one) == QUIC_ID:
        return Kind.KNOWN, "quic connection", None
    if WireGuard().connection_id(one) == WIREGUARD_INDEX:
        return Kind.KNOWN, "wireguard connection", None
    for transport in (Utp(), Quic(), WireGuard()):
        if transport.claims(one) and not (transport.name == "utp" and source in bound):
            return Kind.FIRST, None, transport.name
    if source in bound:
        return Kind.KNOWN, bound[source], None
    return None


def demultiplexer(owners: dict[SocketAddress, str]) -> Demultiplexer[str]:
    demux: Demultiplexer[str] = Demultiplexer([Utp(), Quic(), WireGuard()])
    demux.bind_relay(TURN_SERVER, "relay")
    demux.bind_id("quic", QUIC_ID, "quic connection")
    demux.bind_id("wireguard", WIREGUARD_INDEX, "wireguard connection")
    for source, owner in owners.items():
        demux.bind_source(source, owner, "utp")
    return demux


@given(
    arrivals=st.lists(st.tuples(batches(), st.sampled_from([*SOURCES, TURN_SERVER])), max_size=2),
    bound=st.sets(st.sampled_from([*SOURCES, TURN_SERVER])),
)
def test_every_interleaving_is_routed_as_the_rules_say(arrivals, bound):
    owners = {source: f"link to {source}" for source in bound}
    demux = demultiplexer(owners)
    dropped = 0
    for batch, source in arrivals:
        wanted = [(expected(bytes(one), source, owners), bytes(one)) for one in batch]
        dropped += sum(verdict is None for verdict, _ in wanted)
        got = [
            ((run.kind, run.owner, run.transport.name if run.transport else None), bytes(one))
            for run in demux.route(batch, source)
            for one in run.datagrams
        ]
        assert got == [(verdict, one) for verdict, one in wanted if verdict is not None]
    assert demux.drops == Counter({Drop.UNCLAIMED: dropped} if dropped else {})


@given(batch=batches(), source=st.sampled_from(SOURCES))
def test_neighbours_of_one_destiny_share_a_run(batch, source):
    demux = demultiplexer({source: "link"})
    wanted = []
    for verdict, group in groupby(expected(bytes(one), source, {source: "link"}) for one in batch):
        if verdict is not None:
            same = len(list(group))
            wanted += [verdict[0]] * (same if verdict[0] is Kind.STUN else 1)
    assert [run.kind for run in demux.route(batch, source)] == wanted
