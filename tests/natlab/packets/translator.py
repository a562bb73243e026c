"""A NAT of RFC 4787 in any mode, sans-IO: a packet and the time in, the translated packet out.

UDP over IPv4, and the ICMP errors about it; everything else is the kernel's. Fragments are
dropped, as many NATs do. Inbound packets do not keep a mapping alive, which the RFC leaves open.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from random import Random

from tests.natlab.packets import headers
from tests.natlab.packets.behaviour import BY_ADDRESS, INDEPENDENT, Behaviour, Dependence
from tests.natlab.packets.headers import DESTINATION, ICMP, SOURCE, UDP, Endpoint

MOST_MAPPINGS = 4096
MOST_PERMISSIONS = 1024
"""Of one mapping; the oldest goes first."""
FIRST_PORT, LAST_PORT = 1024, 65535

Key = tuple[int, ...]


def _part(dependence: Dependence, remote: Endpoint) -> Key:
    """What of a remote endpoint matters."""
    if dependence == INDEPENDENT:
        return ()
    return (remote[0],) if dependence == BY_ADDRESS else remote


@dataclass(slots=True)
class _Mapping:
    inside: Endpoint
    port: int
    used_at: float
    permitted: dict[Key, float] = field(default_factory=dict)
    """Which remotes may answer, and when each was last sent to."""


class Translator:
    """The NAT. Bounded: a full table refuses new mappings, as a home router's does."""

    def __init__(
        self, behaviour: Behaviour, public: IPv4Address, inside: IPv4Network, random: Random
    ) -> None:
        self._behaviour = behaviour
        self._public = int(public)
        self._network, self._mask = int(inside.network_address), int(inside.netmask)
        self._random = random
        self._next_port = random.randint(FIRST_PORT, LAST_PORT)
        self._by_key: OrderedDict[Key, _Mapping] = OrderedDict()
        """The longest unused first."""
        self._by_port: dict[int, _Mapping] = {}

    def reboot(self, public: IPv4Address) -> None:
        """Forget everything and come back with another address."""
        self._public = int(public)
        self._by_key.clear()
        self._by_port.clear()

    def translate(self, packet: bytes, now: float) -> bytes | None:
        """The packet to send on instead, or None where a NAT sends nothing on."""
        if (at := headers.transport_at(packet, 0, UDP)) is not None:
            return self._udp(bytearray(packet), at, now)
        if (at := headers.transport_at(packet, 0, ICMP)) is not None:
            return self._icmp_error(bytearray(packet), at, now)
        return None

    def _udp(self, packet: bytearray, at: int, now: float) -> bytes | None:
        source = headers.endpoint(packet, 0, at, SOURCE)
        destination = headers.endpoint(packet, 0, at, DESTINATION)
        if self._is_inside(source):
            if destination[0] == self._public and not self._behaviour.hairpin:
                return None
            mapping = self._used(source, destination, now)
            if mapping is None:
                return None
            source = (self._public, mapping.port)
            headers.set_endpoint(packet, 0, at, SOURCE, source)
        elif destination[0] != self._public:
            return None
        if destination[0] == self._public:
            inside = self._admitted(source, destination[1], now)
            if inside is None:
                return None
            headers.set_endpoint(packet, 0, at, DESTINATION, inside)
        return bytes(packet)

    def _icmp_error(self, packet: bytearray, at: int, now: float) -> bytes | None:
        """An error quotes a translated packet: both ends of the translation are undone in it."""
        quoted = at + headers.ICMP_HEADER
        inner = headers.transport_at(packet, quoted, UDP)
        if packet[at] not in headers.ICMP_ERRORS or inner is None:
            return None
        sender = headers.endpoint(packet, quoted, inner, SOURCE)
        receiver = headers.endpoint(packet, quoted, inner, DESTINATION)
        if sender[0] == self._public:
            inside = self._admitted(receiver, sender[1], now)
            if inside is None:
                return None
            headers.set_endpoint(packet, quoted, inner, SOURCE, inside)
            headers.set_address(packet, 0, DESTINATION, inside[0])
        else:
            mapping = self._alive(self._by_key.get(self._key(receiver, sender)), now)
            if mapping is None:
                return None
            headers.set_endpoint(packet, quoted, inner, DESTINATION, (self._public, mapping.port))
            headers.set_address(packet, 0, SOURCE, self._public)
        headers.set_icmp_checksum(packet, at)
        return bytes(packet)

    def _is_inside(self, end: Endpoint) -> bool:
        return end[0] & self._mask == self._network

    def _key(self, inside: Endpoint, remote: Endpoint) -> Key:
        return (*inside, *_part(self._behaviour.mapping, remote))

    def _used(self, inside: Endpoint, remote: Endpoint, now: float) -> _Mapping | None:
        """The mapping for a packet that leaves, made where there is none, and kept alive by it."""
        key = self._key(inside, remote)
        mapping = self._alive(self._by_key.get(key), now) or self._made(key, inside, now)
        if mapping is None:
            return None
        mapping.used_at = now
        self._by_key.move_to_end(key)
        permission = _part(self._behaviour.filtering, remote)
        mapping.permitted.pop(permission, None)
        mapping.permitted[permission] = now
        if len(mapping.permitted) > MOST_PERMISSIONS:
            del mapping.permitted[next(iter(mapping.permitted))]
        return mapping

    def _admitted(self, remote: Endpoint, port: int, now: float) -> Endpoint | None:
        """Whom a packet is for that comes in from `remote` to this public port, if anybody."""
        mapping = self._alive(self._by_port.get(port), now)
        if mapping is None:
            return None
        sent_at = mapping.permitted.get(_part(self._behaviour.filtering, remote))
        return mapping.inside if sent_at is not None and self._fresh(sent_at, now) else None

    def _alive(self, mapping: _Mapping | None, now: float) -> _Mapping | None:
        return mapping if mapping is not None and self._fresh(mapping.used_at, now) else None

    def _fresh(self, at: float, now: float) -> bool:
        return now - at < self._behaviour.timeout

    def _made(self, key: Key, inside: Endpoint, now: float) -> _Mapping | None:
        while self._by_key and not self._fresh(next(iter(self._by_key.values())).used_at, now):
            _, old = self._by_key.popitem(last=False)
            del self._by_port[old.port]
        if len(self._by_key) >= MOST_MAPPINGS:
            return None
        mapping = _Mapping(inside, self._free_port(inside[1]), now)
        self._by_key[key] = self._by_port[mapping.port] = mapping
        return mapping

    def _free_port(self, preserved: int) -> int:
        """Never ends in vain: there are more ports than mappings."""
        match self._behaviour.ports:
            case "preserved":
                port = preserved
            case "random":
                port = self._random.randint(FIRST_PORT, LAST_PORT)
            case "sequential":
                port = self._next_port
        while port in self._by_port:
            port = port + 1 if port < LAST_PORT else FIRST_PORT
        self._next_port = port + 1 if port < LAST_PORT else FIRST_PORT
        return port
