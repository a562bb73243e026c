"""The receiving half of one socket on loops with `add_reader`: whole batches per receive.

Where the kernel merges (UDP_GRO), one receive brings a run of equal datagrams. Where it does not,
equal datagrams from one source are read back to back into one buffer, which gives the same batches.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Callable, Sequence

from keynet.engine import Datagrams
from keynet.udp import pktinfo
from keynet.udp.api import Receiver
from keynet.udp.mmsg import AVAILABLE, BurstReceiver, Straggler
from keynet.udp.options import UDP_GRO
from keynet.udp.receiving import Received
from keynet.udp.route import PathCache
from keynet.udp.thin import ThinTraffic, UnmergedTraffic
from keynet.udp.zones import SockAddr

_LARGEST_RECEIVE = 65536
_FULL = 4 * 61440
"""A run is handed over once it has this many bytes: what is done once a batch, whatever its size,
is done a quarter as often as with the 64 KiB that the kernel merges at most."""
_BUFFER = _FULL + _LARGEST_RECEIVE
_CONTROL = 128
"""Bytes for control messages: the segment size and the local address."""

_MAX_RECEIVES = 256
_MAX_BATCHES = 32
_MAX_OCTETS = 1024 * 1024
"""The most work of one wake-up; then the loop's other callbacks have their turn."""

_IDLE = 50e-6
"""Seconds between wake-ups that show that the loop had nothing to do."""
_SMALL = 1000
"""Datagrams below this many bytes are taken for interactive."""

_TRUNCATED = int(getattr(socket, "MSG_TRUNC", 0) | getattr(socket, "MSG_CTRUNC", 0))
"""An int: the enum's own `&` is slow."""

Chunk = tuple[int, int, SockAddr, bytes | None]
"""One receive: bytes, bytes of each datagram, the source, the local side's control message."""

_NOTHING: Chunk = (0, 0, (), None)
"""A receive without usable bytes: an empty datagram, or an error that passes."""


class BatchedReader:
    """Drains one socket at each wake-up of the loop."""

    def __init__(
        self,
        sock: socket.socket,
        on_writable: Callable[[], bool],
        on_broken: Callable[[OSError], None],
        *,
        control: bool,
        merging: bool,
    ) -> None:
        """`on_writable` says whether waiting for room is over; `merging`, whether the kernel merges
        runs; `control`, whether receives carry control messages (merged runs, local addresses)."""
        self.received = Received()
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._ended_at = 0.0
        self._sock = sock
        self._on_writable = on_writable
        self._on_broken = on_broken
        self._receiver: Receiver | None = None
        self._view = memoryview(bytearray(_BUFFER))
        self._paths = PathCache()
        self._thin = ThinTraffic() if merging else UnmergedTraffic()
        self._pause: asyncio.TimerHandle | None = None
        self._closed = False
        self._control: Sequence[pktinfo.ControlMessage] = []
        self._segment = 0
        self._local: bytes | None = None
        self._receive = self._receive_merged if control else self._receive_plain
        self._burst = None if control or not AVAILABLE else BurstReceiver(sock, self._view)
        self._expected = 0
        """Bytes of the datagrams that are worth a receive of several; 0 for none."""
        self._stragglers: list[Straggler] = []

    def start(self, receiver: Receiver) -> None:
        """Hand datagrams to `receiver` from now on."""
        if self._receiver is None and not self._closed:
            self._loop.add_reader(self._sock, self._readable)
        self._receiver = receiver

    def await_writable(self) -> None:
        """Call `on_writable` as often as the socket has room, until it returns True."""
        if not self._closed:
            self._loop.add_writer(self._sock, self._writable)

    def close(self) -> None:
        """Stop, and close the socket; idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()

    def _writable(self) -> None:
        if self._on_writable() and not self._closed:
            self._loop.remove_writer(self._sock)

    def _readable(self) -> None:
        self.received.wakeups += 1
        idled = time.monotonic() - self._ended_at > _IDLE
        octets, stride = self._drain(idled)
        if self._closed:
            return
        now = self._time()
        if self._receiver is not None:
            self._receiver.drained(now)
        self._ended_at = time.monotonic()
        pause = self._thin.after(now, octets, stride)
        if pause and not self._closed:
            self._loop.remove_reader(self._sock)
            self._pause = self._loop.call_later(pause, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock, self._readable)
        self._readable()

    def _drain(self, idled: bool) -> tuple[int, int]:
        """Hand over what the socket holds, within bounds; the bytes, and the last datagrams' size.

        After an idle moment a small datagram is probably alone, and waits for no further receive.
        A run is the bytes from `start` to `end`: datagrams of `stride` bytes from one source, of
        which only the last may be shorter.
        """
        octets = start = end = stride = batches = receives = 0
        self._expected = 0
        source: SockAddr = ()
        local: bytes | None = None
        while self._stragglers or (
            octets < _MAX_OCTETS and batches < _MAX_BATCHES and receives < _MAX_RECEIVES
        ):
            chunk = self._receive(end)
            if chunk is None:
                break
            size, segment, sender, to = chunk
            receives += 1
            octets += size
            if start < end and size:
                fits = segment == stride or size == segment < stride
                if not fits or sender != source or to != local:
                    self._hand_over(start, end, stride, source, local)
                    batches += 1
                    start = end
            if start == end:
                stride, source, local = segment, sender, to
            end += size
            if size and (size % stride or end >= _FULL):
                self._hand_over(start, end, stride, source, local)
                batches += 1
                start = end = 0
            elif idled and size == segment < _SMALL:
                break
        if start < end:
            self._hand_over(start, end, stride, source, local)
        self.received.receives += receives
        return octets, stride

    def _hand_over(
        self, start: int, end: int, stride: int, source: SockAddr, local: bytes | None
    ) -> None:
        receiver = self._receiver
        if receiver is None or self._closed:
            return
        received = self.received
        received.batches += 1
        received.octets += end - start
        run = Datagrams(self._view[start:end], stride)
        receiver.datagrams_received(run, self._paths[source, local], self._time())

    def _receive_merged(self, end: int) -> Chunk | None:
        """Receive behind `end`, with control messages; None when the socket is empty."""
        try:
            size, control, flags, source = self._sock.recvmsg_into((self._view[end:],), _CONTROL)
        except BlockingIOError:
            return None
        except OSError as error:
            return self._fault(error)
        if not size or flags & _TRUNCATED:
            self.received.unusable += 1
            return _NOTHING
        if control != self._control:
            self._read_control(control)
        return size, self._segment or size, source, self._local

    def _read_control(self, control: Sequence[pktinfo.ControlMessage]) -> None:
        """Keep what control messages say: nearly always the next ones say the same."""
        self._control, self._segment, self._local = control, 0, None
        for level, kind, data in control:
            if kind == UDP_GRO and level == socket.IPPROTO_UDP:
                self._segment = int.from_bytes(data, sys.byteorder)
            elif pktinfo.is_pktinfo(level, kind):
                self._local = data

    def _receive_plain(self, end: int) -> Chunk | None:
        """Receive one datagram behind `end`, or several equal ones once they come in numbers;
        None when the socket is empty."""
        if self._stragglers:
            return self._next_straggler(end)
        try:
            if self._expected and self._burst is not None:
                return self._receive_burst(self._burst, end)
            size, source = self._sock.recvfrom_into(self._view[end:])
        except BlockingIOError:
            return None
        except OSError as error:
            return self._fault(error)
        if not size:
            self.received.unusable += 1
            return _NOTHING
        if size >= _SMALL and self._burst is not None:
            self._expected, self._burst.emptied = size, False
        return size, size, source, None

    def _receive_burst(self, burst: BurstReceiver, end: int) -> Chunk | None:
        if burst.emptied:
            return None
        size, source, self._stragglers = burst.receive(end, self._expected)
        return (size, self._expected, source, None) if size else self._next_straggler(end)

    def _next_straggler(self, end: int) -> Chunk:
        """One of those that were read to where they do not belong."""
        data, source = self._stragglers.pop(0)
        if not data:
            self.received.unusable += 1
            return _NOTHING
        self._view[end : end + len(data)] = data
        return len(data), len(data), source, None

    def _fault(self, error: OSError) -> Chunk | None:
        if self._closed:
            return None
        if self.received.is_broken(error):
            self._on_broken(error)
            return None
        return _NOTHING
