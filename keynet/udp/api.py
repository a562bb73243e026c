"""The contract of a UDP endpoint: what it promises and what it calls. No I/O lives here.

An endpoint is a node's one UDP socket (one per address family). It hands batches to exactly one
receiver, on the event loop's thread, and takes batches back through `send`. `keynet.udp.endpoint`
makes real ones; `keynet.testing` makes simulated ones that behave the same.
"""

from __future__ import annotations

import enum
from typing import Protocol

from keynet.address import SocketAddress
from keynet.engine import Datagrams
from keynet.udp.budget import ReceiveBudget
from keynet.udp.path import Path


class Receiver(Protocol):
    """Whoever an endpoint hands its datagrams to. Called on the loop, never re-entrantly."""

    def datagrams_received(self, datagrams: Datagrams, path: Path, now: float) -> None:
        """Take a batch that came from `path.remote`; called many times per wake-up.

        The batch and its buffer are reused after this returns: copy what is kept. Datagrams of
        different protocols may share a batch when they came from one address in one run.
        """

    def drained(self, now: float) -> None:
        """A wake-up's receives are over: answer them now, all at once."""

    def writable(self) -> None:
        """Room again, after `send` had said BLOCKED."""

    def endpoint_failed(self, error: OSError) -> None:
        """The socket itself is broken (not a destination): nothing more will arrive."""


class Sent(enum.Enum):
    """What became of one `send`."""

    OK = "ok"
    """The kernel took the whole batch."""
    BLOCKED = "blocked"
    """The socket is full; `writable()` follows. Nothing of the batch was taken: offer it again."""
    TOO_BIG = "too big"
    """A datagram is larger than the path is known to take (EMSGSIZE); dropped."""
    FAILED = "failed"
    """Another fault of this destination (no route, refused), or the endpoint is closed; dropped."""


class Endpoint(Protocol):
    """A node's UDP sockets, dialling and listening alike."""

    @property
    def addresses(self) -> tuple[SocketAddress, ...]:
        """The local addresses as bound, ports filled in; one per socket."""

    @property
    def budget(self) -> ReceiveBudget:
        """How much may be under way towards this endpoint: what its receive buffer holds."""

    @property
    def max_batch(self) -> int:
        """The largest useful size of a batch in bytes; `send` splits what exceeds it."""

    def set_receiver(self, receiver: Receiver) -> None:
        """Start handing datagrams to `receiver` (and no longer to an earlier one)."""

    def send(self, datagrams: Datagrams, path: Path) -> Sent:
        """Send a batch to `path.remote`, from `path.local` if that is given; never raises OSError.

        The buffer may be reused as soon as this returns.
        """

    def mtu_ceiling(self, path: Path) -> int:
        """The largest UDP payload in bytes that the interface towards `path` takes; cached."""

    def close(self) -> None:
        """Close the sockets; idempotent, also from inside a receiver's call, which is the last."""

    def stats(self) -> dict[str, float | int | str]:
        """Counters and gauges for people: datagrams, bytes, drops by reason, buffer sizes."""
