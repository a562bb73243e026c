"""The user-space NAT's core: RFC 4787's modes, its bounds, checksums and ICMP errors. No lab."""

from __future__ import annotations

import itertools
import struct
from ipaddress import IPv4Address, IPv4Network
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.natlab.packets import headers
from tests.natlab.packets.behaviour import (
    BY_ADDRESS,
    BY_PORT,
    INDEPENDENT,
    Behaviour,
    Dependence,
    Ports,
)
from tests.natlab.packets.headers import DESTINATION, SOURCE, Endpoint
from tests.natlab.packets.translator import MOST_MAPPINGS, MOST_PERMISSIONS, Translator

PUBLIC = IPv4Address("21.0.1.2")
INSIDE = IPv4Network("192.168.1.0/24")
A: Endpoint = (int(INSIDE[2]), 5000)
B: Endpoint = (int(INSIDE[3]), 5000)
X: Endpoint = (int(IPv4Address("21.0.9.2")), 7)
X_OTHER_PORT: Endpoint = (X[0], 8)
Y: Endpoint = (int(IPv4Address("21.0.8.2")), 7)


def checksum(data: bytes) -> int:
    """RFC 1071, word by word."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ip_header(protocol: int, source: int, destination: int, length: int) -> bytes:
    blank = struct.pack(
        "!BBHHHBBHII", 0x45, 0, 20 + length, 1, 0x4000, 64, protocol, 0, source, destination
    )
    return blank[:10] + struct.pack("!H", checksum(blank)) + blank[12:]


def udp(source: Endpoint, destination: Endpoint, payload: bytes = b"hello!") -> bytes:
    length = 8 + len(payload)
    pseudo = struct.pack("!IIBBH", source[0], destination[0], 0, 17, length)
    blank = struct.pack("!HHHH", source[1], destination[1], length, 0) + payload
    summed = checksum(pseudo + blank + b"\0" * (length % 2)) or 0xFFFF
    body = blank[:6] + struct.pack("!H", summed) + blank[8:]
    return ip_header(17, source[0], destination[0], length) + body


def icmp_error(source: int, destination: int, quoted: bytes) -> bytes:
    blank = struct.pack("!BBHI", 3, 3, 0, 0) + quoted[:28]
    body = blank[:2] + struct.pack("!H", checksum(blank)) + blank[4:]
    return ip_header(1, source, destination, len(body)) + body


def ends(packet: bytes | None) -> tuple[Endpoint, Endpoint] | None:
    """Source and destination of a packet, whose checksums must hold."""
    if packet is None:
        return None
    source, destination = (headers.endpoint(packet, 0, 20, side) for side in (SOURCE, DESTINATION))
    assert checksum(packet[:20]) == 0
    pseudo = packet[12:20] + struct.pack("!BBH", 0, 17, len(packet) - 20)
    assert checksum(pseudo + packet[20:] + b"\0" * (len(packet) % 2)) in (0, 0xFFFF)
    return source, destination


class Gateway:
    """A translator with its table of packets: who sends from where to whom."""

    def __init__(
        self,
        mapping: Dependence = INDEPENDENT,
        filtering: Dependence = BY_PORT,
        ports: Ports = "preserved",
        hairpin: bool = False,
    ) -> None:
        behaviour = Behaviour(mapping, filtering, ports, hairpin, timeout=30)
        self.translator = Translator(behaviour, PUBLIC, INSIDE, Random(1))

    def out(self, inside: Endpoint, remote: Endpoint, now: float = 0.0) -> int:
        """The public port of a packet that leaves."""
        sent = ends(self.translator.translate(udp(inside, remote), now))
        assert sent is not None
        assert sent[0][0] == int(PUBLIC)
        assert sent[1] == remote
        return sent[0][1]

    def back(self, remote: Endpoint, port: int, now: float = 0.0) -> Endpoint | None:
        """Whom a packet to that public port reaches."""
        came = ends(self.translator.translate(udp(remote, (int(PUBLIC), port)), now))
        assert came is None or came[0] == remote
        return came[1] if came else None


@pytest.mark.parametrize(
    ("mapping", "same"),
    [(INDEPENDENT, (True, True)), (BY_ADDRESS, (True, False)), (BY_PORT, (False, False))],
)
def test_mapping(mapping: Dependence, same: tuple[bool, bool]) -> None:
    gateway = Gateway(mapping=mapping)
    first, other_port, other_address = (gateway.out(A, to) for to in (X, X_OTHER_PORT, Y))
    assert (first == other_port, first == other_address) == same


@pytest.mark.parametrize(
    ("filtering", "let_in"),
    [(INDEPENDENT, [X, X_OTHER_PORT, Y]), (BY_ADDRESS, [X, X_OTHER_PORT]), (BY_PORT, [X])],
)
def test_filtering(filtering: Dependence, let_in: list[Endpoint]) -> None:
    gateway = Gateway(filtering=filtering)
    port = gateway.out(A, X)
    assert [to for to in (X, X_OTHER_PORT, Y) if gateway.back(to, port) == A] == let_in


def test_ports_are_preserved_until_two_want_the_same() -> None:
    gateway = Gateway()
    assert [gateway.out(A, X), gateway.out(B, X), gateway.out(A, Y)] == [5000, 5001, 5000]


def test_ports_in_sequence_wrap_around() -> None:
    gateway = Gateway(mapping=BY_PORT, ports="sequential")
    ports = [gateway.out(A, (X[0], 1 + i)) for i in range(100)]
    assert {after - before for before, after in itertools.pairwise(ports)} == {1}
    gateway.translator._next_port = 65535
    assert [gateway.out(B, (X[0], 1 + i)) for i in range(2)] == [65535, 1024]


def test_random_ports_are_never_shared() -> None:
    gateway = Gateway(mapping=BY_PORT, ports="random")
    ports = [gateway.out(A, (X[0], 1 + i)) for i in range(2000)]
    assert len(set(ports)) == len(ports)
    assert min(ports) >= 1024


def test_a_mapping_lives_from_its_last_packet_outwards() -> None:
    gateway = Gateway()
    port = gateway.out(A, X, now=0.0)
    assert gateway.back(X, port, now=29.9) == A  # which does not prolong it
    assert gateway.back(X, port, now=30.0) is None
    assert gateway.out(A, Y, now=31.0) == port
    assert gateway.out(A, Y, now=60.0) == port
    assert gateway.back(Y, port, now=89.0) == A
    assert gateway.back(X, port, now=89.0) is None  # its permission is its own


def test_a_hairpin_shows_the_public_endpoint() -> None:
    gateway = Gateway(hairpin=True)
    a, b = gateway.out(A, X), gateway.out(B, X)
    to_b = udp(A, (int(PUBLIC), b))
    assert gateway.translator.translate(to_b, 0.0) is None, "B has not sent to A"
    gateway.translator.translate(udp(B, (int(PUBLIC), a)), 0.0)
    assert ends(gateway.translator.translate(to_b, 0.0)) == ((int(PUBLIC), a), B)


def test_without_hairpinning_insiders_do_not_meet() -> None:
    gateway = Gateway(filtering=INDEPENDENT)
    port = gateway.out(B, X)
    assert gateway.translator.translate(udp(A, (int(PUBLIC), port)), 0.0) is None


def test_a_reboot_forgets_and_changes_the_address() -> None:
    gateway = Gateway(filtering=INDEPENDENT)
    port = gateway.out(A, X)
    gateway.translator.reboot(PUBLIC + 1)
    assert gateway.back(X, port) is None
    sent = ends(gateway.translator.translate(udp(A, X), 0.0))
    assert sent is not None
    assert sent[0][0] == int(PUBLIC) + 1


def test_an_error_from_outside_reaches_who_sent() -> None:
    gateway = Gateway()
    sent = gateway.translator.translate(udp(A, X), 0.0)
    assert sent is not None
    error = gateway.translator.translate(icmp_error(Y[0], int(PUBLIC), sent), 0.0)
    assert error is not None
    assert checksum(error[20:]) == 0
    assert headers.address(error, 0, DESTINATION) == A[0]
    assert error[28:56] == udp(A, X)[:28]


def test_an_error_from_inside_shows_the_public_endpoint() -> None:
    gateway = Gateway()
    port = gateway.out(A, X)
    delivered = udp(X, A)
    error = gateway.translator.translate(icmp_error(A[0], X[0], delivered), 0.0)
    assert error is not None
    assert checksum(error[20:]) == 0
    assert headers.address(error, 0, SOURCE) == int(PUBLIC)
    assert headers.endpoint(error, 28, 48, DESTINATION) == (int(PUBLIC), port)


def test_an_error_about_nothing_that_was_sent_is_dropped() -> None:
    gateway = Gateway()
    never_sent = udp((int(PUBLIC), 5000), X)
    assert gateway.translator.translate(icmp_error(Y[0], int(PUBLIC), never_sent), 0.0) is None


def test_a_full_table_refuses_until_something_is_forgotten() -> None:
    gateway = Gateway(mapping=BY_PORT, ports="sequential")
    for number in range(MOST_MAPPINGS):
        gateway.out(A, (X[0] + number // 60_000, 1 + number % 60_000))
    assert gateway.translator.translate(udp(B, X), 1.0) is None
    gateway.out(B, X, now=31.0)


def test_of_too_many_permissions_the_oldest_goes() -> None:
    gateway = Gateway()
    for number in range(MOST_PERMISSIONS + 1):
        port = gateway.out(A, (X[0], 1 + number))
    assert gateway.back((X[0], 1), port) is None
    assert gateway.back((X[0], 2), port) == A


def test_what_is_between_strangers_or_no_udp_is_dropped() -> None:
    gateway = Gateway(filtering=INDEPENDENT)
    gateway.out(A, X)
    translate = gateway.translator.translate
    assert translate(udp(X, Y), 0.0) is None
    fragment = bytearray(udp(A, X))
    fragment[6] = 0x20
    assert translate(bytes(fragment), 0.0) is None
    assert translate(ip_header(6, A[0], X[0], 20) + bytes(20), 0.0) is None


def test_a_packet_without_a_checksum_keeps_none() -> None:
    packet = bytearray(udp(A, X))
    packet[26:28] = b"\0\0"
    sent = Gateway().translator.translate(bytes(packet), 0.0)
    assert sent is not None
    assert sent[26:28] == b"\0\0"


@given(st.binary(max_size=80))
def test_no_bytes_raise(data: bytes) -> None:
    gateway = Gateway(filtering=INDEPENDENT, hairpin=True)
    gateway.translator.translate(data, 0.0)
    gateway.translator.translate(b"\x45" + data, 0.0)
    gateway.translator.translate(ip_header(1, A[0], X[0], len(data)) + data, 0.0)
    gateway.translator.translate(ip_header(17, X[0], int(PUBLIC), len(data)) + data, 0.0)


@given(
    source=st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 65535)),
    destination=st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 65535)),
    new=st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 65535)),
    payload=st.binary(max_size=9),
    side=st.sampled_from([SOURCE, DESTINATION]),
)
def test_checksums_hold_for_any_endpoint(
    source: Endpoint, destination: Endpoint, new: Endpoint, payload: bytes, side: int
) -> None:
    packet = bytearray(udp(source, destination, payload))
    headers.set_endpoint(packet, 0, 20, side, new)
    assert ends(bytes(packet)) == ((new, destination) if side == SOURCE else (source, new))
