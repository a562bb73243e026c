"""The embedded TURN server (RFC 8656), sans-IO: allocations, permissions, channels, limits.

It listens at one address and holds no socket: PortWanted asks the shell for one, which answers with
`port_opened`. Nothing unauthenticated is forwarded. Ports are not reserved (508 for who asks);
DONT-FRAGMENT is an unknown attribute (420).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from keynet.address import SocketAddress
from keynet.engine import Buffer, Datagrams
from keynet.relay import channel_data, codec
from keynet.relay.allocation import Allocation
from keynet.relay.allocations import Allocations
from keynet.relay.codec import Class, ErrorCode, Message, Method
from keynet.relay.credentials import Nonces, owner_of
from keynet.relay.events import ServerEvent
from keynet.relay.gate import Gate, Member
from keynet.relay.limits import RelayLimits
from keynet.relay.reach import Reach
from keynet.stun.binding import Question, read, reflection
from keynet.udp.path import Path

REALM = "keynet"
DEFAULT_LIFETIME = 600
NONCE_LIFETIME = 600.0
MAX_QUEUED = 8 << 20
"""Bytes that wait to be sent."""

_RESERVE = b"\x80"
"""The bit in EVEN-PORT that asks for the next port as well (RFC 8656 section 18.6)."""

LISTENING = 0
"""The number of the listening socket among those of allocations, which begin at 1."""

_Result = Mapping[str, Any] | ErrorCode | None
"""The attributes of a success, an error, or nothing yet."""


class Transmission(NamedTuple):
    """A batch to send."""

    number: int
    """Through which socket: an allocation's, or LISTENING."""
    path: Path
    datagrams: Datagrams


class TurnServer:
    """All allocations of one listening address."""

    def __init__(
        self,
        password_of: Callable[[str], str | None],
        random_bytes: Callable[[int], bytes],
        nonce_secret: bytes,
        *,
        limits: RelayLimits | None = None,
        reach: Reach | None = None,
        ipv4: bool = True,
        ipv6: bool = True,
    ) -> None:
        """`password_of` tells members' passwords (see `credentials.SharedSecret`), `nonce_secret`
        is 32 random bytes of this server's own; `ipv4` and `ipv6`: which relayed addresses the
        shell can open."""
        self.counters: Counter[str] = Counter()
        """What was relayed, dropped and refused, by reason."""
        self.limits = limits or RelayLimits()
        self._random_bytes = random_bytes
        self._gate = Gate(password_of, REALM, Nonces(nonce_secret, NONCE_LIFETIME))
        self._reach = reach or Reach()
        self._families = {codec.FAMILY_IPV4: ipv4, codec.FAMILY_IPV6: ipv6}
        self._allocations = Allocations(self.limits, self.counters)
        self._last_number = LISTENING
        self._outgoing: deque[Transmission] = deque()
        self._queued = 0
        self._closed = False
        self._handlers: dict[Method, Callable[[Message, Path, Member, float], _Result]] = {
            Method.ALLOCATE: self._allocate,
            Method.REFRESH: self._refresh,
            Method.CREATE_PERMISSION: self._permit,
            Method.CHANNEL_BIND: self._bind,
        }

    def receive(self, datagrams: Datagrams, client: Path, now: float) -> None:
        """Take a batch that came to the listening address."""
        if self._closed:
            return
        runs, messages = channel_data.separate(datagrams)
        for run in runs:
            self._receive_channels(run, self._allocations.of_client(client), now)
        for one in messages:
            self._receive_message(one, client, now)

    def receive_relayed(
        self, datagrams: Datagrams, number: int, peer: SocketAddress, now: float
    ) -> None:
        """Take a batch that came to an allocation's socket."""
        allocation = self._allocations.get(number)
        if allocation is None:
            return
        if not allocation.permits(peer.host, now):
            self.counters["from a peer without permission"] += len(datagrams)
            return
        channel = allocation.channel_of(peer, now)
        if datagrams.stride > (channel_data.MAX_PAYLOAD if channel else codec.MAX_DATA):
            self.counters["too long to relay"] += len(datagrams)
        elif self._allocations.charge(allocation, datagrams, now):
            if channel:
                batch = channel_data.wrap(channel, datagrams)
            else:
                batch = codec.indications(Method.DATA, peer, datagrams, self._random_bytes)
            self._put(LISTENING, allocation.client, batch)

    def port_opened(self, number: int, relayed: SocketAddress, now: float) -> None:
        """The socket that PortWanted asked for is open; peers reach it at `relayed`."""
        allocation = self._allocations.opened(number, relayed)
        if allocation is not None:
            self._answer_allocation(allocation, self._allocated(allocation, now))

    def port_failed(self, number: int, now: float) -> None:
        """The socket that PortWanted asked for could not be opened, or has broken."""
        allocation = self._allocations.get(number)
        if allocation is None:
            return
        if allocation.relayed is None:
            self._answer_allocation(allocation, ErrorCode.INSUFFICIENT_CAPACITY)
        self._allocations.end(allocation, "its socket failed")

    def transmissions(self) -> list[Transmission]:
        """What is to be sent now."""
        batches = list(self._outgoing)
        self._outgoing.clear()
        self._queued = 0
        return batches

    def next_deadline(self) -> float | None:
        """When to call `handle_deadline`; None while there are no allocations."""
        return self._allocations.next_sweep()

    def handle_deadline(self, now: float) -> None:
        """End what has expired."""
        self._allocations.sweep(now)

    def next_event(self) -> ServerEvent | None:
        """The oldest event not yet taken, or None."""
        events = self._allocations.events
        return events.popleft() if events else None

    def close(self) -> None:
        """End every allocation (PortReleased follows for each). Idempotent."""
        self._closed = True
        self._allocations.end_all("the relay closed")
        self._outgoing.clear()
        self._queued = 0

    def stats(self) -> dict[str, int | float]:
        """Counters and gauges for people, and the limits beside them."""
        limits = self.limits
        return {
            "allocations now": len(self._allocations),
            "allocations at most": limits.allocations,
            "allocations at most per node": limits.allocations_per_node,
            "allocations at most per address": limits.allocations_per_address,
            "bytes a second at most": limits.bandwidth_in_all,
            "bytes a second at most per node": limits.bandwidth,
            "bytes at most per node": limits.octets,
            "seconds at most per allocation": limits.duration,
            **self.counters,
            **self._gate.counters,
        }

    def _receive_channels(self, run: Datagrams, allocation: Allocation | None, now: float) -> None:
        if allocation is None:
            self.counters["without an allocation"] += len(run)
            return
        taken = 0
        for channel, datagrams in channel_data.unwrap(run):
            peer = allocation.peer_of(channel, now)
            if peer is not None:
                taken += len(datagrams)
                self._forward(allocation, peer, datagrams, now)
        if taken < len(run):
            self.counters["of no channel"] += len(run) - taken

    def _receive_message(self, datagram: Buffer, client: Path, now: float) -> None:
        message = codec.parse(datagram)
        if message is None:
            self.counters["malformed"] += 1
        elif message.method is Method.BINDING:
            self._reflect(datagram, message, client, now)
        elif message.message_class is Class.INDICATION:
            self._receive_indication(message, client, now)
        elif message.message_class is Class.REQUEST and message.method in self._handlers:
            self._receive_request(message, client, now)
        else:
            self.counters["malformed"] += 1

    def _reflect(self, datagram: Buffer, message: Message, client: Path, now: float) -> None:
        """Be a STUN server too: clients ask a TURN server for their address."""
        question = read(datagram)
        if isinstance(question, Question):
            answer = reflection(question, client.remote)
            self._put_to_stranger(self._gate.answer_stranger(message, answer, client, now), client)

    def _receive_indication(self, message: Message, client: Path, now: float) -> None:
        allocation = self._allocations.of_client(client)
        data = message.attributes.get("DATA")
        if message.method is not Method.SEND or len(message.peers) != 1 or message.unknown:
            self.counters["malformed"] += 1
        elif allocation is None:
            self.counters["without an allocation"] += 1
        elif not allocation.permits(message.peers[0].host, now):
            self.counters["to a peer without permission"] += 1
        elif data:
            self._forward(allocation, message.peers[0], Datagrams(data), now)

    def _receive_request(self, request: Message, client: Path, now: float) -> None:
        member = self._gate.admit(request, client, self._allocations.of_client(client), now)
        if not isinstance(member, Member):
            self._put_to_stranger(member, client)
            return
        handle = self._handlers[request.method]
        known = not request.unknown
        result = handle(request, client, member, now) if known else ErrorCode.UNKNOWN_ATTRIBUTE
        if result is not None:
            names = b"".join(number.to_bytes(2) for number in request.unknown)
            more = {"UNKNOWN-ATTRIBUTES": names} if names else {}
            self._answer(request.method, request.transaction_id, client, member.key, result, more)

    def _allocate(self, request: Message, client: Path, member: Member, now: float) -> _Result:
        known = self._allocations.of_client(client)
        if known is not None:
            if known.transaction_id != request.transaction_id:
                return ErrorCode.ALLOCATION_MISMATCH
            return self._allocated(known, now) if known.relayed is not None else None
        attributes = request.attributes
        family = attributes.get("REQUESTED-ADDRESS-FAMILY", codec.FAMILY_IPV4)
        fault = self._fault_of(attributes, family)
        if fault is not None:
            return fault
        node = owner_of(member.username)
        fault = self._allocations.fault_of_one_more(node, client.remote.host, now)
        if fault is not None:
            return fault
        self._begin(request, client, member, node, family == codec.FAMILY_IPV6, now)
        return None

    def _fault_of(self, attributes: Mapping[str, Any], family: int) -> ErrorCode | None:
        """What is wrong with what an Allocate asks for (RFC 8656 section 7.2)."""
        transport = attributes.get("REQUESTED-TRANSPORT")
        if transport is None:
            return ErrorCode.BAD_REQUEST
        if transport >> 24 != codec.UDP_TRANSPORT >> 24:
            return ErrorCode.UNSUPPORTED_TRANSPORT
        reserving = attributes.get("EVEN-PORT", b"\0")[:1] >= _RESERVE
        if "RESERVATION-TOKEN" in attributes or reserving:
            return ErrorCode.INSUFFICIENT_CAPACITY
        if not self._families.get(family):
            return ErrorCode.ADDRESS_FAMILY_NOT_SUPPORTED
        return None

    def _begin(
        self, request: Message, client: Path, member: Member, node: str, ipv6: bool, now: float
    ) -> None:
        self._last_number += 1
        allocation = Allocation(
            number=self._last_number,
            client=client,
            username=member.username,
            node=node,
            key=member.key,
            transaction_id=request.transaction_id,
            ipv6=ipv6,
            even="EVEN-PORT" in request.attributes,
            expires_at=now,
            ends_at=now + self.limits.duration,
        )
        self._prolong(allocation, request, now)
        self._allocations.begin(allocation, now)

    def _refresh(self, request: Message, client: Path, member: Member, now: float) -> _Result:
        allocation = self._own(client, member)
        if isinstance(allocation, ErrorCode):
            return allocation
        family = request.attributes.get("REQUESTED-ADDRESS-FAMILY")
        if family not in (None, allocation.family):
            return ErrorCode.PEER_FAMILY_MISMATCH
        if request.attributes.get("LIFETIME") == 0:
            self._allocations.end(allocation, "its client closed it")
            return {"LIFETIME": 0}
        self._prolong(allocation, request, now)
        return {"LIFETIME": allocation.seconds_left(now)}

    def _permit(self, request: Message, client: Path, member: Member, now: float) -> _Result:
        allocation = self._own(client, member)
        if isinstance(allocation, ErrorCode):
            return allocation
        fault = self._fault_of_peers(request, allocation)
        if fault is not None:
            return fault
        hosts = [peer.host for peer in request.peers]
        permitted = allocation.permit(hosts, now, self.limits.permissions)
        return {} if permitted else ErrorCode.INSUFFICIENT_CAPACITY

    def _bind(self, request: Message, client: Path, member: Member, now: float) -> _Result:
        allocation = self._own(client, member)
        if isinstance(allocation, ErrorCode):
            return allocation
        number = request.attributes.get("CHANNEL-NUMBER", 0)
        if len(request.peers) != 1 or not channel_data.is_number(number):
            return ErrorCode.BAD_REQUEST
        fault = self._fault_of_peers(request, allocation)
        if fault is not None:
            return fault
        (peer,) = request.peers
        if not allocation.permit([peer.host], now, self.limits.permissions):
            return ErrorCode.INSUFFICIENT_CAPACITY
        return allocation.bind(number, peer, now, self.limits.channels) or {}

    def _own(self, client: Path, member: Member) -> Allocation | ErrorCode:
        allocation = self._allocations.of_client(client)
        if allocation is None or allocation.relayed is None:
            return ErrorCode.ALLOCATION_MISMATCH
        if allocation.username != member.username:
            return ErrorCode.WRONG_CREDENTIALS
        return allocation

    def _fault_of_peers(self, request: Message, allocation: Allocation) -> ErrorCode | None:
        if not request.peers:
            return ErrorCode.BAD_REQUEST
        if any(peer.is_ipv6 != allocation.ipv6 for peer in request.peers):
            return ErrorCode.PEER_FAMILY_MISMATCH
        if not all(self._reach.permits(peer.host) for peer in request.peers):
            self.counters["peers out of reach"] += 1
            return ErrorCode.FORBIDDEN
        return None

    def _prolong(self, allocation: Allocation, request: Message, now: float) -> None:
        wanted = max(DEFAULT_LIFETIME, request.attributes.get("LIFETIME", DEFAULT_LIFETIME))
        granted = min(wanted, self.limits.lifetime)
        allocation.expires_at = min(now + granted, allocation.ends_at)

    def _allocated(self, allocation: Allocation, now: float) -> Mapping[str, Any]:
        assert allocation.relayed is not None
        return {
            "XOR-RELAYED-ADDRESS": codec.unzoned(allocation.relayed),
            "LIFETIME": allocation.seconds_left(now),
            "XOR-MAPPED-ADDRESS": codec.unzoned(allocation.client.remote),
        }

    def _forward(
        self, allocation: Allocation, peer: SocketAddress, datagrams: Datagrams, now: float
    ) -> None:
        """To a peer, through the allocation's own socket."""
        if not peer.port or self._is_own(peer):
            self.counters["peers out of reach"] += len(datagrams)
        elif self._allocations.charge(allocation, datagrams, now):
            self._put(allocation.number, Path(peer), datagrams)

    def _is_own(self, peer: SocketAddress) -> bool:
        """Whether a peer is this machine itself, and not another allocation here."""
        allocations = self._allocations
        if allocations.is_relayed(peer) or self._reach.names(peer.host):
            return False
        return allocations.shares_host(peer)

    def _answer_allocation(self, allocation: Allocation, result: _Result) -> None:
        client, key = allocation.client, allocation.key
        self._answer(Method.ALLOCATE, allocation.transaction_id, client, key, result, {})

    def _answer(
        self, method: Method, transaction_id: bytes, client: Path, key: bytes, result: _Result,
        more: Mapping[str, Any],
    ) -> None:  # fmt: skip
        if isinstance(result, ErrorCode):
            self.counters[f"refused: {result.reason.lower()}"] += 1
            kind, attributes = Class.ERROR, {"ERROR-CODE": (int(result), result.reason), **more}
        else:
            kind, attributes = Class.RESPONSE, dict(result or {})
        answer = codec.encode(method, kind, transaction_id, attributes, key)
        self._put(LISTENING, client, Datagrams(answer))

    def _put_to_stranger(self, answer: bytes | None, client: Path) -> None:
        if answer is not None:
            self._put(LISTENING, client, Datagrams(answer))

    def _put(self, number: int, path: Path, datagrams: Datagrams) -> None:
        if self._queued + len(datagrams.data) > MAX_QUEUED:
            self.counters["more than waits to be sent"] += len(datagrams)
            return
        self._queued += len(datagrams.data)
        self._outgoing.append(Transmission(number, path, datagrams))
