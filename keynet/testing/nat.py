"""A NAT as RFC 4787 describes them, for simulations: what it maps, and what it lets in. Pure.

FakeNet puts endpoints behind one. NATs nest: a home's behind a carrier's.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum

from keynet.address import SocketAddress


class Depends(Enum):
    """What of the remote address a NAT's behaviour depends on (RFC 4787 sections 4.1 and 5)."""

    NOTHING = "endpoint-independent"
    ADDRESS = "address-dependent"
    ADDRESS_AND_PORT = "address and port-dependent"


class Ports(Enum):
    """How the outside port is chosen (RFC 4787 section 4.2)."""

    PRESERVED = "preserved"
    SEQUENTIAL = "sequential"
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class NatModel:
    """How a NAT behaves."""

    mapping: Depends = Depends.NOTHING
    filtering: Depends = Depends.ADDRESS_AND_PORT
    ports: Ports = Ports.PRESERVED
    timeout: float = 120.0
    """Seconds that a mapping lives after the last datagram from inside."""
    hairpin: bool = False
    """Whether hosts inside reach each other by their outside addresses."""


FULL_CONE = NatModel(filtering=Depends.NOTHING)
ADDRESS_RESTRICTED = NatModel(filtering=Depends.ADDRESS)
PORT_RESTRICTED = NatModel()
SYMMETRIC = NatModel(mapping=Depends.ADDRESS_AND_PORT, ports=Ports.RANDOM)
SEQUENTIAL = NatModel(mapping=Depends.ADDRESS_AND_PORT, ports=Ports.SEQUENTIAL)


@dataclass(slots=True)
class _Mapping:
    inside: SocketAddress
    key: tuple[object, ...]
    used_at: float
    remotes: set[SocketAddress]
    """To which it has sent: what the filter goes by."""


class Nat:
    """One NAT with one outside address."""

    def __init__(
        self, model: NatModel, outside: str, *, parent: Nat | None = None, seed: int = 0
    ) -> None:
        """`outside` is its address in the network of `parent`, by default the internet."""
        self.model = model
        self.outside = outside
        self.parent = parent
        self._rng = random.Random(seed)
        self._by_key: dict[tuple[object, ...], int] = {}
        self._by_port: dict[int, _Mapping] = {}
        self._next_port = 20000

    def outbound(self, inside: SocketAddress, remote: SocketAddress, now: float) -> SocketAddress:
        """What a datagram from `inside` to `remote` looks as if it came from."""
        self._expire(now)
        key = (inside, *_part(remote, self.model.mapping))
        port = self._by_key.get(key)
        if port is None:
            port = self._free_port(inside.port)
            self._by_key[key] = port
            self._by_port[port] = _Mapping(inside, key, now, set())
        mapping = self._by_port[port]
        mapping.used_at = now
        mapping.remotes.add(remote)
        return SocketAddress(self.outside, port)

    def inbound(self, source: SocketAddress, port: int, now: float) -> SocketAddress | None:
        """Whom inside a datagram from `source` to the outside `port` reaches; None for nobody."""
        self._expire(now)
        mapping = self._by_port.get(port)
        if mapping is None or (source.host == self.outside and not self.model.hairpin):
            return None
        wanted = _part(source, self.model.filtering)
        if not any(_part(remote, self.model.filtering) == wanted for remote in mapping.remotes):
            return None
        return mapping.inside

    def reboot(self, outside: str | None = None) -> None:
        """Forget every mapping, and take another outside address if one is given."""
        self._by_key.clear()
        self._by_port.clear()
        self.outside = outside or self.outside

    def _free_port(self, inside: int) -> int:
        match self.model.ports:
            case Ports.PRESERVED:
                port = inside
            case Ports.SEQUENTIAL:
                port = self._next_port
                self._next_port += 1
            case Ports.RANDOM:
                port = self._rng.randrange(1024, 65536)
        while port in self._by_port:
            port = port + 1 if port < 65535 else 1024
        return port

    def _expire(self, now: float) -> None:
        for port, mapping in list(self._by_port.items()):
            if now - mapping.used_at >= self.model.timeout:
                del self._by_port[port], self._by_key[mapping.key]


def _part(address: SocketAddress, depends: Depends) -> tuple[object, ...]:
    match depends:
        case Depends.NOTHING:
            return ()
        case Depends.ADDRESS:
            return (address.host,)
        case Depends.ADDRESS_AND_PORT:
            return tuple(address)
