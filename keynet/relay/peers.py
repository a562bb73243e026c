"""The peers of one allocation as its client keeps them: permissions and channels. Pure.

A channel's number means one peer for as long as the server remembers it, and five minutes more
(RFC 8656 section 12): a peer that comes back in that time gets its number again, nobody else does.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from keynet.address import SocketAddress
from keynet.relay.channel_data import FIRST_CHANNEL, LAST_CHANNEL

MAX_PEERS = 256
"""Of one allocation."""
RENEWAL = 240.0
"""Seconds until a permission, which lasts 300, is renewed; a channel's renewal does both."""
REMEMBERED = 600.0 + 300.0
"""Seconds for which the server may hold a number for a peer."""

NEVER = float("inf")


@dataclass(slots=True)
class Peer:
    """One peer, and how far the server has agreed to it."""

    address: SocketAddress
    permitted: bool = False
    channel: int = 0
    """The number asked for; 0 while none is."""
    bound: bool = False
    """The server has agreed to the channel."""
    bindable: bool = True
    """False once the server refused a channel: data then travels in indications."""
    renew_at: float = NEVER


class Peers:
    """The table, by address and by channel."""

    def __init__(self) -> None:
        self._by_address: dict[SocketAddress, Peer] = {}
        self._by_channel: dict[int, Peer] = {}
        self._retired: OrderedDict[SocketAddress, tuple[int, float]] = OrderedDict()
        self._next_number = FIRST_CHANNEL

    def __len__(self) -> int:
        return len(self._by_address)

    def add(self, address: SocketAddress) -> Peer | None:
        """A new peer; None when there are too many."""
        if len(self._by_address) >= MAX_PEERS:
            return None
        return self._by_address.setdefault(address, Peer(address))

    def get(self, address: SocketAddress) -> Peer | None:
        """The peer at exactly that address."""
        return self._by_address.get(address)

    def on_channel(self, number: int) -> Peer | None:
        """The peer that a channel is bound to, or about to be."""
        return self._by_channel.get(number)

    def permits(self, host: str) -> bool:
        """Whether some peer of that host is permitted (permissions are for whole hosts)."""
        return any(one.permitted and one.address.host == host for one in self._by_address.values())

    def number_for(self, peer: Peer, now: float) -> bool:
        """Give a peer a channel number to ask for; False when all are taken."""
        if peer.address in self._retired:
            peer.channel, _ = self._retired.pop(peer.address)
        elif self._next_number <= LAST_CHANNEL:
            peer.channel = self._next_number
            self._next_number += 1
        elif self._retired and next(iter(self._retired.values()))[1] <= now:
            _, (peer.channel, _) = self._retired.popitem(last=False)
        else:
            return False
        self._by_channel[peer.channel] = peer
        return True

    def remove(self, address: SocketAddress, now: float) -> None:
        """Forget a peer; its number stays its own for a while. Idempotent."""
        peer = self._by_address.pop(address, None)
        if peer is not None and peer.channel:
            del self._by_channel[peer.channel]
            self._retired[address] = (peer.channel, now + REMEMBERED)

    def clear(self) -> None:
        """Forget all."""
        self._by_address.clear()
        self._by_channel.clear()
        self._retired.clear()

    def due(self, now: float) -> list[Peer]:
        """Those to renew."""
        return [one for one in self._by_address.values() if one.renew_at <= now]

    def next_renewal(self) -> float:
        """When `due` next has something."""
        return min((one.renew_at for one in self._by_address.values()), default=NEVER)
