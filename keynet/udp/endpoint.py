"""A node's real UDP endpoint: one socket per address family. `bind` makes one.

Nothing here knows how a socket is read or written: `keynet.udp.family` puts that together.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from keynet.address import SocketAddress
from keynet.engine import Datagrams
from keynet.errors import ConfigError
from keynet.udp.api import Endpoint, Receiver, Sent
from keynet.udp.budget import ReceiveBudget
from keynet.udp.buffers import BUFFER_SIZE
from keynet.udp.family import SHELLS, FamilySocket
from keynet.udp.mtu import MtuCeilings
from keynet.udp.path import Path
from keynet.udp.sending import MAX_PAYLOAD

_LARGE_BLOCK = 31 << 20
"""Just below the most that glibc lets its thresholds grow to."""


class UdpEndpoint:
    """The sockets of one node. See `keynet.udp.api.Endpoint` for the verbs."""

    max_batch = MAX_PAYLOAD

    def __init__(self) -> None:
        self._ipv4: FamilySocket | None = None
        self._ipv6: FamilySocket | None = None
        self._receiver: Receiver | None = None
        self._ceilings = MtuCeilings()
        self._closed = False
        self._unroutable = 0
        self.addresses: tuple[SocketAddress, ...] = ()
        self.budget = ReceiveBudget(0)

    async def open(self, address: SocketAddress, buffer_size: int, shell: str) -> None:
        """Add a socket; only `bind` calls this. Raises OSError as bind(2) does."""
        opened = await FamilySocket.open(address, buffer_size, shell, self._room, self._broken)
        if address.is_ipv6:
            self._ipv6 = opened
        else:
            self._ipv4 = opened
        self.addresses += (opened.address,)
        self.budget.total = min(one.buffers.payload for one in self._sockets())

    def set_receiver(self, receiver: Receiver) -> None:
        """Start handing datagrams to `receiver`."""
        self._receiver = receiver
        for one in self._sockets():
            one.start(receiver)

    def send(self, datagrams: Datagrams, path: Path) -> Sent:
        """Send a batch to `path.remote`; never raises OSError."""
        through = self._ipv6 if ":" in path[0][0] else self._ipv4
        if through is None or self._closed:
            self._unroutable += 1
            return Sent.FAILED
        try:
            return through.send(datagrams, path)
        except (OSError, ValueError):  # a zone or a local address that does not exist
            self._unroutable += 1
            return Sent.FAILED

    def mtu_ceiling(self, path: Path) -> int:
        """The largest UDP payload in bytes that the interface towards `path` takes; cached."""
        return self._ceilings.get(path, time.monotonic())

    def close(self) -> None:
        """Close the sockets; idempotent."""
        self._closed = True
        for one in self._sockets():
            one.close()

    def stats(self) -> dict[str, float | int | str]:
        """Counters and gauges; each socket's under its family's name."""
        result: dict[str, float | int | str] = {"unroutable": self._unroutable}
        for one in self._sockets():
            family = "ipv6" if one.address.is_ipv6 else "ipv4"
            result.update({f"{family}_{name}": value for name, value in one.stats().items()})
        return result

    def _sockets(self) -> list[FamilySocket]:
        return [one for one in (self._ipv4, self._ipv6) if one is not None]

    def _room(self) -> None:
        if self._receiver is not None and not self._closed:
            self._receiver.writable()

    def _broken(self, error: OSError) -> None:
        if self._closed:
            return
        self.close()
        if self._receiver is not None:
            self._receiver.endpoint_failed(error)


def _keep_freed_memory() -> None:
    """Have glibc reuse the memory of freed batches instead of returning it to the kernel.

    Batches of 64 KiB come and go thousands of times a second; by default each may cost sixteen
    page faults, a third of the receiver's time. Freeing one large mapped block raises the
    thresholds for mapping and trimming (mallopt(3), M_MMAP_THRESHOLD) for the process. The block
    is never touched; other allocators take no notice.
    """
    bytes(_LARGE_BLOCK)


async def bind(
    listen: Sequence[SocketAddress], *, buffer_size: int = BUFFER_SIZE, shell: str = "auto"
) -> Endpoint:
    """Open a node's UDP sockets: at most one IPv4 and one IPv6 address to listen on.

    `buffer_size` is asked for each way, in bytes; `stats()` and a logged warning say what the
    system refused. `shell` is one of SHELLS. Call `set_receiver` next.

    Raises ConfigError for an unknown shell or two addresses of one family, OSError as bind(2) does.
    """
    if shell not in SHELLS:
        raise ConfigError(f"unknown UDP shell {shell!r}: one of {', '.join(SHELLS)}")
    if not listen or len({address.is_ipv6 for address in listen}) != len(listen):
        raise ConfigError("a UDP endpoint needs one address, or one IPv4 and one IPv6 address")
    _keep_freed_memory()
    endpoint = UdpEndpoint()
    try:
        for address in listen:
            await endpoint.open(address, buffer_size, shell)
    except BaseException:
        endpoint.close()
        raise
    return endpoint
