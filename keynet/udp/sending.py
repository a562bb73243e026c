"""The sending half of one socket: whole batches where the kernel segments, else one by one."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from typing import Any, Protocol

from keynet.engine import Buffer, Datagrams
from keynet.udp.api import Sent
from keynet.udp.pktinfo import ControlMessage
from keynet.udp.route import Route
from keynet.udp.zones import SockAddr

logger = logging.getLogger("keynet.udp")

MAX_PAYLOAD = 65507
"""The largest UDP payload over IPv4, and of one segmented send, in bytes."""

MAX_SEGMENTS = 64
"""UDP_MAX_SEGMENTS of the oldest kernels that segment; newer ones take 128."""

_NO_SEGMENTATION = (errno.EIO, errno.EINVAL, errno.ENOPROTOOPT, errno.EOPNOTSUPP)
"""What a kernel or a device without segmentation answers (EIO: no checksum offload)."""


_OK = Sent.OK  # an enum's attribute costs on the hot path


Burst = Callable[[Any, int, SockAddr, list[ControlMessage]], int]
"""See `keynet.udp.mmsg.BurstSender.send`."""


class SendingSocket(Protocol):
    """The part of a socket that sending needs."""

    def sendto(self, data: Any, address: Any, /) -> int: ...
    def sendmsg(self, buffers: Any, control: Any, flags: int, address: Any, /) -> int: ...


class Sender:
    """Takes batches for one socket. Never raises OSError."""

    def __init__(
        self,
        socket: SendingSocket,
        *,
        segmenting: bool,
        allow_fragments: Callable[[bool], object],
        on_blocked: Callable[[], None],
        burst: Burst | None = None,
    ) -> None:
        """`on_blocked` is called whenever `flush` must be called once the socket has room;
        `burst` sends several datagrams at once where the kernel does not segment."""
        self.socket = socket
        self.burst = burst
        self.segmenting = segmenting
        self._allow_fragments = allow_fragments
        self._on_blocked = on_blocked
        self._unsent: tuple[Datagrams, Route] | None = None
        self.batches = self.octets = self.blocked = self.too_big = self.failures = 0

    def send(self, datagrams: Datagrams, route: Route) -> Sent:
        """Send a batch; what cannot go out after its first part did is kept for `flush`."""
        if self._unsent is not None:
            return Sent.BLOCKED
        if datagrams.may_fragment:
            self._allow_fragments(True)
            try:
                return self._send(datagrams, route)
            finally:
                self._allow_fragments(False)
        return self._send(datagrams, route)

    def flush(self) -> bool:
        """Send what was kept; whether the socket takes new batches again."""
        if self._unsent is not None:
            datagrams, route = self._unsent
            self._unsent = None
            if self.send(datagrams, route) is Sent.BLOCKED:
                self._unsent = datagrams, route
        return self._unsent is None

    def _send(self, datagrams: Datagrams, route: Route) -> Sent:
        size, stride = len(datagrams.data), datagrams.stride
        together = stride  # the bytes of one system call
        if self.segmenting and size > stride and not datagrams.may_fragment:
            together = min(MAX_SEGMENTS, MAX_PAYLOAD // stride or 1) * stride
        if size <= together:
            fault = self._transmit(datagrams.data, stride, route)
            if fault == 0:
                self.batches += 1
                self.octets += size
                return _OK
            return self._failed(fault, datagrams, 0, route)
        return self._send_in_parts(datagrams, together, route)

    def _send_in_parts(self, datagrams: Datagrams, together: int, route: Route) -> Sent:
        if together == datagrams.stride:
            if self.burst is not None:
                return self._send_in_bursts(self.burst, datagrams, route)
            if not route.control:
                return self._send_one_by_one(datagrams, route)
        view, stride = memoryview(datagrams.data), datagrams.stride
        for start in range(0, len(view), together):
            fault = self._transmit(view[start : start + together], stride, route)
            if fault:
                return self._failed(fault, datagrams, start, route)
            self.octets += min(together, len(view) - start)
        self.batches += 1
        return _OK

    def _send_in_bursts(self, burst: Burst, datagrams: Datagrams, route: Route) -> Sent:
        """Where the kernel does not segment, but takes several datagrams in one call."""
        view, stride, start = memoryview(datagrams.data), datagrams.stride, 0
        if view.readonly:
            view = memoryview(bytearray(view))
        try:
            while start < len(view):
                start += burst(view[start:], stride, route.sockaddr, route.control)
        except OSError as error:
            self.octets += start
            return self._failed(error.errno or errno.EIO, datagrams, start, route)
        self.octets += start
        self.batches += 1
        return _OK

    def _send_one_by_one(self, datagrams: Datagrams, route: Route) -> Sent:
        """The hot loop where the kernel takes one datagram a call."""
        view, stride = memoryview(datagrams.data), datagrams.stride
        sendto, sockaddr, start = self.socket.sendto, route.sockaddr, 0
        try:
            for start in range(0, len(view), stride):
                sendto(view[start : start + stride], sockaddr)
        except OSError as error:
            self.octets += start
            return self._failed(error.errno or errno.EIO, datagrams, start, route)
        self.octets += len(view)
        self.batches += 1
        return _OK

    def _transmit(self, data: Buffer, stride: int, route: Route) -> int:
        """One system call; 0, or the error's number."""
        try:
            if len(data) > stride:
                self.socket.sendmsg((data,), route.segmented(stride), 0, route.sockaddr)
            elif route.control:
                self.socket.sendmsg((data,), route.control, 0, route.sockaddr)
            else:
                self.socket.sendto(data, route.sockaddr)
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def _failed(self, fault: int, datagrams: Datagrams, start: int, route: Route) -> Sent:
        """Judge a fault of the part that begins at `start`."""
        if fault in (errno.EAGAIN, errno.EWOULDBLOCK):
            return self._block(datagrams, start, route)
        if fault == errno.EMSGSIZE:
            self.too_big += 1
            return Sent.TOO_BIG
        if self.segmenting and fault in _NO_SEGMENTATION and len(datagrams) > 1:
            return self._send_without_segmentation(datagrams, start, route)
        self.failures += 1
        return Sent.FAILED

    def _send_without_segmentation(self, datagrams: Datagrams, start: int, route: Route) -> Sent:
        """Try one by one; when that works, it was the segmentation, which is then given up."""
        rest = _rest(datagrams, start)
        self.segmenting = False
        sent = self._send_in_parts(rest, rest.stride, route)
        if sent is Sent.OK:
            logger.info("UDP segmentation does not work on this socket: sending one by one")
        else:
            self.segmenting = True
        return sent

    def _block(self, datagrams: Datagrams, start: int, route: Route) -> Sent:
        self.blocked += 1
        self._on_blocked()
        if start == 0:
            return Sent.BLOCKED
        rest = _rest(datagrams, start)
        self._unsent = (
            Datagrams(bytes(rest.data), rest.stride, may_fragment=rest.may_fragment),
            route,
        )
        return Sent.OK


def _rest(datagrams: Datagrams, start: int) -> Datagrams:
    data = memoryview(datagrams.data)[start:]
    return Datagrams(data, datagrams.stride, may_fragment=datagrams.may_fragment)
