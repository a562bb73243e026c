"""Several datagrams a system call where the kernel does not batch: sendmmsg(2) and recvmmsg(2).

Python's socket module does not offer them; libc does. The arrays that describe the datagrams are
made once and point into fixed places, so that a call changes little more than where the bytes are.
Only Linux's layout of the structures is known here: elsewhere `AVAILABLE` is False.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import struct
import sys
from array import array
from collections.abc import Iterable
from typing import Any

from keynet.udp.options import ON_LINUX
from keynet.udp.pktinfo import ControlMessage
from keynet.udp.zones import SockAddr

MOST = 64
"""Datagrams of one call."""
_LARGEST = 65536
_IPV4 = struct.Struct("=H2s4s8x")
_IPV6 = struct.Struct("=H2sI16sI")
"""struct sockaddr_in and sockaddr_in6; the port is in network order."""
_CONTROL_HEAD = struct.Struct("@Nii")

Straggler = tuple[bytes, SockAddr]
"""A datagram that was copied out, and its source."""


class _Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr: a header, and how many bytes were sent or received."""

    _fields_ = (("header", _Header), ("length", ctypes.c_uint32))


def _load() -> tuple[Any, Any] | None:
    if not ON_LINUX:
        return None
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        send, receive = libc.sendmmsg, libc.recvmmsg
    except (OSError, AttributeError):
        return None
    send.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
    receive.argtypes = (*send.argtypes, ctypes.c_void_p)
    return send, receive


_CALLS = _load()
AVAILABLE = _CALLS is not None
"""Whether this system has the calls."""


def _failed() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def _words(numbers: Iterable[int]) -> array[int]:
    return array("L", numbers)


def _begin(buffer: Any) -> tuple[int, object]:
    """Where a writable buffer begins, and what has to be kept while that is used."""
    pinned = ctypes.c_char.from_buffer(buffer)
    return ctypes.addressof(pinned), pinned


class _Messages:
    """An array of messages with `per` vectors each, and views to fill and read them quickly."""

    def __init__(self, per: int) -> None:
        vectors = bytearray(MOST * per * ctypes.sizeof(_Vector))
        memory = bytearray(MOST * ctypes.sizeof(_Message))
        self.each = (_Message * MOST).from_buffer(memory)
        self.address = ctypes.addressof(self.each)
        first, self._pinned = _begin(vectors)
        for index, message in enumerate(self.each):
            message.header.vectors = first + index * per * ctypes.sizeof(_Vector)
            message.header.vector_count = per
        self.vectors = memoryview(vectors).cast("L")
        """Base, length, base, length, and so on."""
        words = memoryview(memory).cast("I")
        self.lengths = words[_Message.length.offset // 4 :: ctypes.sizeof(_Message) // 4]


class BurstSender:
    """Sends runs of equal datagrams, to one address at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._out = _Messages(1)
        self._to: tuple[SockAddr, list[ControlMessage]] = ((), [])
        self._name: Any = None
        self._control: Any = None
        self._stride = 0

    def send(
        self, data: Any, stride: int, sockaddr: SockAddr, control: list[ControlMessage]
    ) -> int:
        """Send writable `data` as datagrams of `stride` bytes; returns how many bytes were taken.

        It may be less than all, in whole datagrams. Raises OSError when nothing was taken.
        """
        assert _CALLS is not None
        if (sockaddr, control) != self._to:
            self._aim(sockaddr, control)
        out, size = self._out, len(data)
        if stride != self._stride:
            out.vectors[1::2] = _words([stride] * MOST)
            self._stride = stride
        count = min(MOST, -(-size // stride))
        start, pinned = _begin(data)
        out.vectors[: 2 * count : 2] = _words(range(start, start + count * stride, stride))
        last = min(size - (count - 1) * stride, stride)
        out.vectors[2 * count - 1] = last
        taken: int = _CALLS[0](self._sock.fileno(), out.address, count, 0)
        out.vectors[2 * count - 1] = stride
        del pinned
        if taken < 0:
            raise _failed()
        return taken * stride if taken < count else (count - 1) * stride + last

    def _aim(self, sockaddr: SockAddr, control: list[ControlMessage]) -> None:
        """Point every message at the address, and at the control messages that go with it."""
        self._to = (sockaddr, control)
        self._name = ctypes.create_string_buffer(_packed(sockaddr))
        raw = b"".join([_packed_control(*message) for message in control])
        self._control = ctypes.create_string_buffer(raw)
        for message in self._out.each:
            message.header.name = ctypes.addressof(self._name)
            message.header.name_length = len(self._name) - 1
            message.header.control = ctypes.addressof(self._control) if raw else None
            message.header.control_length = len(raw)


class BurstReceiver:
    """Receives several datagrams, which nearly always are of one size and from one address.

    Each is read to where it belongs if all before it are as large as expected; what is larger
    flows over into memory that is otherwise never touched.
    """

    def __init__(self, sock: socket.socket, view: memoryview) -> None:
        """`view` is where runs are gathered."""
        self._sock = sock
        self._view = view
        self._in = _Messages(2)
        self._start, self._pinned = _begin(view)
        self._over = memoryview(mmap.mmap(-1, MOST * _LARGEST))
        over, self._over_pinned = _begin(self._over)
        self._in.vectors[2::4] = _words(range(over, over + MOST * _LARGEST, _LARGEST))
        self._in.vectors[3::4] = _words([_LARGEST] * MOST)
        self._names = bytearray(MOST * _IPV6.size)
        names, self._names_pinned = _begin(self._names)
        for index, message in enumerate(self._in.each):
            message.header.name = names + index * _IPV6.size
            message.header.name_length = _IPV6.size
        self._raw_source = b""
        self._source: SockAddr = ()
        self.emptied = False
        """The last receive found fewer datagrams than it had room for."""

    def receive(self, end: int, stride: int) -> tuple[int, SockAddr, list[Straggler]]:
        """Receive what there is behind `end`, expecting datagrams of `stride` bytes.

        Returns the bytes of a run that lies at `end`, and its source; or 0 and the datagrams
        copied out, when sizes or sources differ. Raises OSError, when nothing is there too.
        """
        assert _CALLS is not None
        count = min(MOST, (len(self._view) - end) // stride)
        begin, vectors = self._start + end, self._in.vectors
        vectors[: 4 * count : 4] = _words(range(begin, begin + count * stride, stride))
        vectors[1 : 4 * count : 4] = _words([stride] * count)
        got: int = _CALLS[1](self._sock.fileno(), self._in.address, count, 0, None)
        self.emptied = got < count
        if got < 0:
            raise _failed()
        sizes = self._in.lengths[:got].tolist()
        name = bytes(self._names[: _IPV6.size])
        alike = self._names[: got * _IPV6.size] == name * got
        if alike and sizes[:-1].count(stride) == got - 1 and 0 < sizes[-1] <= stride:
            return (got - 1) * stride + sizes[-1], self._read_name(name), []
        return 0, (), self._one_by_one(sizes, end, stride)

    def _one_by_one(self, sizes: list[int], end: int, stride: int) -> list[Straggler]:
        found: list[Straggler] = []
        for index, size in enumerate(sizes):
            at, over = end + index * stride, index * _LARGEST
            data = bytes(self._view[at : at + min(size, stride)])
            data += self._over[over : over + max(0, size - stride)]
            name = self._names[index * _IPV6.size : (index + 1) * _IPV6.size]
            found.append((data, self._read_name(bytes(name))))
        return found

    def _read_name(self, raw: bytes) -> SockAddr:
        if raw != self._raw_source:
            self._raw_source, self._source = raw, _unpacked(raw)
        return self._source


def _packed(sockaddr: SockAddr) -> bytes:
    host, port = sockaddr[0], sockaddr[1].to_bytes(2)
    if len(sockaddr) == 2:
        return _IPV4.pack(socket.AF_INET, port, socket.inet_aton(host))
    address = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    return _IPV6.pack(socket.AF_INET6, port, sockaddr[2], address, sockaddr[3])


def _unpacked(raw: bytes) -> SockAddr:
    if int.from_bytes(raw[:2], sys.byteorder) == socket.AF_INET:
        _, port, address = _IPV4.unpack_from(raw)
        return socket.inet_ntoa(address), int.from_bytes(port)
    _, port, flow, address, scope = _IPV6.unpack(raw)
    return socket.inet_ntop(socket.AF_INET6, address), int.from_bytes(port), flow, scope


def _packed_control(level: int, kind: int, data: bytes) -> bytes:
    head = _CONTROL_HEAD.pack(socket.CMSG_LEN(len(data)), level, kind)
    return (head + data).ljust(socket.CMSG_SPACE(len(data)), b"\0")
