"""One address family's socket with its two halves, put together for a shell."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
from collections.abc import Callable

from keynet.address import SocketAddress
from keynet.engine import Datagrams
from keynet.udp import mmsg, pktinfo
from keynet.udp.api import Receiver, Sent
from keynet.udp.batched import BatchedReader
from keynet.udp.buffers import Buffers, enlarge_buffers, receive_drops
from keynet.udp.options import allow_fragments, can_segment, enable_receive_merging, open_socket
from keynet.udp.path import Path
from keynet.udp.portable import PortableReader
from keynet.udp.receiving import Reader
from keynet.udp.route import RouteCache
from keynet.udp.sending import Burst, Sender
from keynet.udp.zones import address_of

SHELLS = ("auto", "batched", "plain", "portable")
"""How I/O is done: `batched` needs add_reader and uses segmented sends and merged receives where
the kernel has them; `plain` is the same without segmenting and merging; `portable` needs only
asyncio's datagram transports. `auto` takes the first that the loop and the system can do."""


class FamilySocket:
    """A bound socket, a sender and a reader. `open` makes one."""

    def __init__(
        self,
        sock: socket.socket,
        buffers: Buffers,
        on_room: Callable[[], None],
        on_broken: Callable[[OSError], None],
    ) -> None:
        self.address = address_of(sock.getsockname())
        self.buffers = buffers
        self._sock = sock
        self._on_room = on_room
        self._on_broken = on_broken
        self._wildcard = ipaddress.ip_address(self.address.host).is_unspecified
        self._reader: Reader
        self._sender: Sender
        self._routes = RouteCache(with_local=False)
        self._merging = False

    @classmethod
    async def open(
        cls,
        address: SocketAddress,
        buffer_size: int,
        shell: str,
        on_room: Callable[[], None],
        on_broken: Callable[[OSError], None],
    ) -> FamilySocket:
        """Bind and set up. Raises OSError as bind(2) does."""
        sock = open_socket(address)
        try:
            self = cls(sock, enlarge_buffers(sock, buffer_size), on_room, on_broken)
            if shell == "auto":
                shell = "batched" if _can_batch(sock) else "portable"
            if shell == "portable":
                await self._set_up_portable()
            else:
                self._set_up_batched(kernel_batches=shell == "batched")
        except BaseException:
            sock.close()
            raise
        return self

    def _set_up_batched(self, kernel_batches: bool) -> None:
        can_control = hasattr(self._sock, "recvmsg_into")
        with_local = self._wildcard and can_control and pktinfo.enable(self._sock)
        self._merging = kernel_batches and can_control and enable_receive_merging(self._sock)
        self._routes = RouteCache(with_local=with_local)
        self._reader = BatchedReader(
            self._sock,
            self._writable,
            self._on_broken,
            control=with_local or self._merging,
            merging=self._merging,
        )
        burst = mmsg.BurstSender(self._sock).send if mmsg.AVAILABLE else None
        self._sender = self._new_sender(kernel_batches and can_segment(self._sock), burst)

    async def _set_up_portable(self) -> None:
        reader = PortableReader(self._sock, self._writable, self._on_broken)
        self._reader = reader
        self._sender = self._new_sender(False)
        await reader.attach()

    def _new_sender(self, segmenting: bool, burst: Burst | None = None) -> Sender:
        return Sender(
            self._sock,
            segmenting=segmenting,
            allow_fragments=functools.partial(allow_fragments, self._sock),
            on_blocked=self._reader.await_writable,
            burst=burst,
        )

    def start(self, receiver: Receiver) -> None:
        """Hand datagrams to `receiver` from now on."""
        self._reader.start(receiver)

    def send(self, datagrams: Datagrams, path: Path) -> Sent:
        """Send a batch. Raises OSError or ValueError for a zone or local address that is none."""
        return self._sender.send(datagrams, self._routes[path])

    def close(self) -> None:
        """Close the socket; idempotent."""
        self._reader.close()

    def stats(self) -> dict[str, int]:
        """Counters and gauges."""
        received, sender = self._reader.received, self._sender
        return {
            "received_bytes": received.octets,
            "received_batches": received.batches,
            "receives": received.receives,
            "wakeups": received.wakeups,
            "receive_errors": received.faults,
            "unusable": received.unusable,
            "kernel_drops": receive_drops(self._sock),
            "sent_bytes": sender.octets,
            "sent_batches": sender.batches,
            "send_blocked": sender.blocked,
            "send_too_big": sender.too_big,
            "send_failures": sender.failures,
            "segmenting": int(sender.segmenting),
            "merging": int(self._merging),
            "receive_buffer": self.buffers.receive,
            "send_buffer": self.buffers.send,
            "buffers_refused": int(self.buffers.refused),
        }

    def _writable(self) -> bool:
        if not self._sender.flush():
            return False
        self._on_room()
        return True


def _can_batch(sock: socket.socket) -> bool:
    """Whether the running loop watches file descriptors."""
    loop = asyncio.get_running_loop()
    try:
        loop.add_reader(sock, lambda: None)
    except NotImplementedError:
        return False
    loop.remove_reader(sock)
    return True
