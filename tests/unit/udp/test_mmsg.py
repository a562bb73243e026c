"""Several datagrams a system call: each arrives whole, whatever its size and source."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from random import Random

import pytest

from keynet.udp import mmsg, pktinfo
from keynet.udp.mmsg import MOST, BurstReceiver, BurstSender
from keynet.udp.zones import SockAddr

pytestmark = pytest.mark.skipif(not mmsg.AVAILABLE, reason="this system has no sendmmsg")

EXPECTED = 1200


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def sockets(request: pytest.FixtureRequest) -> Iterator[list[socket.socket]]:
    """One to receive and two to send with, of one family."""
    family, host = request.param
    opened = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(3)]
    for one in opened:
        one.setblocking(False)
        one.bind((host, 0))
    yield opened
    for one in opened:
        one.close()


def receiver_of(sock: socket.socket) -> tuple[BurstReceiver, memoryview]:
    view = memoryview(bytearray(300_000))
    return BurstReceiver(sock, view), view


def all_of(receiver: BurstReceiver, view: memoryview, end: int = 0) -> list[tuple[bytes, SockAddr]]:
    """One receive's datagrams, each with its source."""
    size, source, stragglers = receiver.receive(end, EXPECTED)
    run = [
        bytes(view[start : min(start + EXPECTED, end + size)])
        for start in range(end, end + size, EXPECTED)
    ]
    return [(one, source) for one in run] + stragglers


@pytest.mark.parametrize("end", [0, 5000])
@pytest.mark.parametrize(
    "sizes",
    [
        [1200],
        [1200] * 30,
        [1200] * 30 + [7],
        [1200, 1200, 600, 1200, 1200],
        [600, 1200],
        [1200, 9000, 1200, 20000],
        [1200, 0, 1200],
        [1200, 0],
        [1201],
        [0],
    ],
)
def test_sizes_that_differ_are_told_apart(sockets, sizes, end):
    there, here, _ = sockets
    sent = [bytes([index + 1]) * size for index, size in enumerate(sizes)]
    for one in sent:
        here.sendto(one, there.getsockname())
    receiver, view = receiver_of(there)
    assert all_of(receiver, view, end) == [(one, here.getsockname()) for one in sent]
    assert receiver.emptied
    with pytest.raises(BlockingIOError):
        receiver.receive(end, EXPECTED)


def test_equal_datagrams_lie_back_to_back_and_are_not_copied(sockets):
    there, here, _ = sockets
    for _ in range(10):
        here.sendto(bytes(EXPECTED), there.getsockname())
    receiver, _ = receiver_of(there)
    assert receiver.receive(0, EXPECTED) == (10 * EXPECTED, here.getsockname(), [])


def test_sources_that_differ_are_told_apart(sockets):
    there, *both = sockets
    for one in (both[0], both[0], both[1], both[0]):
        one.sendto(bytes(EXPECTED), there.getsockname())
    receiver, view = receiver_of(there)
    found = [source for _, source in all_of(receiver, view)]
    assert found == [one.getsockname() for one in (both[0], both[0], both[1], both[0])]


def test_no_sequence_of_bursts_mixes_anything_up(sockets):
    there, *both = sockets
    receiver, view = receiver_of(there)
    random = Random(7)
    for _ in range(40):
        sent = []
        for _ in range(random.randint(1, 12)):
            size = random.choice([EXPECTED] * 6 + [random.randint(0, 4000)])
            one, data = random.choice([both[0]] * 5 + [both[1]]), random.randbytes(size)
            one.sendto(data, there.getsockname())
            sent.append((data, one.getsockname()))
        assert all_of(receiver, view, random.randint(0, 9000)) == sent


def test_a_run_goes_out_as_its_datagrams(sockets):
    there, here, other = sockets
    sender = BurstSender(here)
    for target, stride, size in ((there, 100, 950), (other, 70, 700), (there, 100, 1000)):
        data = bytearray(Random(size).randbytes(size))
        assert sender.send(memoryview(data), stride, target.getsockname(), []) == size
        arrived = [target.recv(2000) for _ in range(-(-size // stride))]
        assert arrived == [data[at : at + stride] for at in range(0, size, stride)]
        data.clear()  # nothing holds on to it


def test_one_call_takes_so_many_and_says_so(sockets):
    there, here, _ = sockets
    data = bytearray((MOST + 1) * 10)
    assert BurstSender(here).send(data, 10, there.getsockname(), []) == MOST * 10


def test_what_stopped_the_first_datagram_is_raised(sockets):
    there, here, _ = sockets
    with pytest.raises(OSError, match="too long"):
        BurstSender(here).send(bytearray(140_000), 70_000, there.getsockname(), [])
    here.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        BurstSender(here).send(bytearray(20), 10, there.getsockname(), [])


def test_control_messages_choose_the_local_address():
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here,
    ):
        there.bind(("127.0.0.1", 0))
        here.bind(("0.0.0.0", 0))
        sender = BurstSender(here)
        for local in ("127.0.0.2", "127.0.0.3"):
            control = [pktinfo.message_for(local)]
            sender.send(bytearray(300), 100, there.getsockname(), control)
            assert [there.recvfrom(200)[1][0] for _ in range(3)] == [local] * 3
