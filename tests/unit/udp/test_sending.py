"""A sender judges every fault of the system, and gives segmentation up only when it is to blame."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from keynet.address import SocketAddress
from keynet.engine import Datagrams
from keynet.udp.api import Sent
from keynet.udp.path import Path
from keynet.udp.route import Route
from keynet.udp.sending import Sender

ROUTE = Route(Path(SocketAddress("127.0.0.1", 9)), with_local=False)
BATCH = Datagrams(bytes(range(250)) * 4, 100)


class ScriptedSocket:
    """Takes what it is sent, or fails as told."""

    def __init__(self, *, segmented: int = 0, single: int = 0) -> None:
        self.faults = {True: segmented, False: single}
        self.sent: list[bytes] = []
        self.calls: list[bool] = []

    def sendto(self, data: Any, address: Any) -> int:
        return self._take(data, False)

    def sendmsg(self, buffers: Any, control: Any, flags: int, address: Any) -> int:
        return self._take(b"".join(buffers), True)

    def _take(self, data: Any, segmented: bool) -> int:
        self.calls.append(segmented)
        if fault := self.faults[segmented]:
            raise OSError(fault, "told so")
        self.sent.append(bytes(data))
        return len(data)


def sender_over(sock: ScriptedSocket, fragments: list[bool] | None = None) -> Sender:
    allowed: list[bool] = fragments if fragments is not None else []
    return Sender(sock, segmenting=True, allow_fragments=allowed.append, on_blocked=lambda: None)


@pytest.mark.parametrize("fault", [errno.EIO, errno.EINVAL, errno.ENOPROTOOPT])
def test_a_device_that_cannot_segment_is_not_asked_again(fault):
    sock = ScriptedSocket(segmented=fault)
    sender = sender_over(sock)
    assert sender.send(BATCH, ROUTE) is Sent.OK
    assert sender.send(BATCH, ROUTE) is Sent.OK
    assert sock.calls == [True] + [False] * 20
    assert b"".join(sock.sent) == bytes(BATCH.data) * 2


@pytest.mark.parametrize(
    ("single", "outcome"),
    [(errno.EMSGSIZE, Sent.TOO_BIG), (errno.EINVAL, Sent.FAILED), (errno.EAGAIN, Sent.BLOCKED)],
)
def test_segmentation_survives_a_fault_that_single_datagrams_have_too(single, outcome):
    sock = ScriptedSocket(segmented=errno.EINVAL, single=single)
    sender = sender_over(sock)
    assert sender.send(BATCH, ROUTE) is outcome
    assert sender.segmenting


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (errno.EMSGSIZE, Sent.TOO_BIG),
        (errno.ENETUNREACH, Sent.FAILED),
        (errno.EPERM, Sent.FAILED),
        (errno.ECONNREFUSED, Sent.FAILED),
        (errno.ENOBUFS, Sent.FAILED),
        (errno.EWOULDBLOCK, Sent.BLOCKED),
    ],
)
def test_every_fault_has_its_outcome(fault, outcome):
    sender = sender_over(ScriptedSocket(segmented=fault, single=fault))
    assert sender.send(BATCH, ROUTE) is outcome
    assert sender.send(Datagrams(b"one"), ROUTE) is outcome


def test_fragments_are_allowed_during_one_send_only():
    toggled: list[bool] = []
    sock = ScriptedSocket(single=errno.EMSGSIZE)
    sender = sender_over(sock, toggled)
    big = Datagrams(bytes(9000), 3000, may_fragment=True)
    assert sender.send(big, ROUTE) is Sent.TOO_BIG
    assert toggled == [True, False]
    sock.faults[False] = 0
    assert sender.send(big, ROUTE) is Sent.OK
    assert toggled == [True, False] * 2
    assert [len(one) for one in sock.sent] == [3000] * 3
    sender.send(BATCH, ROUTE)
    assert toggled == [True, False] * 2


def test_no_call_carries_more_than_the_kernel_takes():
    sock = ScriptedSocket()
    sender = sender_over(sock)
    assert sender.send(Datagrams(bytes(200 * 10), 10), ROUTE) is Sent.OK
    assert [len(one) for one in sock.sent] == [640, 640, 640, 80]
    sock.sent.clear()
    assert sender.send(Datagrams(bytes(100 * 1472), 1472), ROUTE) is Sent.OK
    assert [len(one) for one in sock.sent] == [44 * 1472, 44 * 1472, 12 * 1472]


def test_what_was_kept_goes_first_and_only_once():
    sock = ScriptedSocket()
    blocked: list[None] = []
    sender = Sender(
        sock,
        segmenting=False,
        allow_fragments=lambda allowed: None,
        on_blocked=lambda: blocked.append(None),
    )
    take = sock._take

    def take_three(data: Any, segmented: bool) -> int:
        if len(sock.sent) == 3:
            raise BlockingIOError(errno.EAGAIN, "full")
        return take(data, segmented)

    sock._take = take_three  # type: ignore[method-assign]
    assert sender.send(BATCH, ROUTE) is Sent.OK
    assert len(blocked) == 1
    assert sender.send(BATCH, ROUTE) is Sent.BLOCKED
    assert not sender.flush()
    sock._take = take  # type: ignore[method-assign]
    assert sender.flush()
    assert b"".join(sock.sent) == bytes(BATCH.data)
