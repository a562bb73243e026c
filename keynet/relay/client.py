"""The TURN client (RFC 8656), sans-IO: one allocation at one server, kept until it is closed.

`allocate`, await Allocated; `permit` a peer, await PeerPermitted; then `send`. All that
`datagrams_to_send` gives goes to the server, all that comes from the server goes to `receive`.
The engine refreshes what expires by itself. It serves one allocation: after AllocationLost make a
new one. Over TCP or TLS, `tcp` frames what goes in and out.
"""

from __future__ import annotations

import enum
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from keynet.address import SocketAddress
from keynet.engine import Buffer, Datagrams
from keynet.relay import channel_data, codec
from keynet.relay.codec import Class, ErrorCode, Message, Method
from keynet.relay.credentials import Credentials
from keynet.relay.events import (
    Allocated,
    AllocationLost,
    ClientEvent,
    DataReceived,
    Loss,
    PeerPermitted,
    PeerRefused,
)
from keynet.relay.peers import NEVER, RENEWAL, Peer, Peers
from keynet.relay.requests import Requests
from keynet.relay.transactions import Request

LIFETIME = 600
"""Seconds asked for (RFC 8656 section 3.2)."""
LONGEST_LIFETIME = 3600.0
"""What a server's promise is cut to."""
KEEPALIVE = 15.0
"""Seconds without sending, after which a NAT on the way to the server is reminded."""
MAX_QUEUED = 4 << 20
"""Bytes that wait to be sent, or to be taken as events."""
CLOSING_ATTEMPTS = 3

_REASONS: dict[int, Loss] = {
    ErrorCode.ALLOCATION_MISMATCH: Loss.MISMATCH,
    ErrorCode.UNAUTHORIZED: Loss.CREDENTIALS,
    ErrorCode.STALE_NONCE: Loss.CREDENTIALS,
    ErrorCode.WRONG_CREDENTIALS: Loss.CREDENTIALS,
    ErrorCode.QUOTA_REACHED: Loss.QUOTA,
    ErrorCode.INSUFFICIENT_CAPACITY: Loss.CAPACITY,
    ErrorCode.ADDRESS_FAMILY_NOT_SUPPORTED: Loss.UNSUPPORTED,
    ErrorCode.UNSUPPORTED_TRANSPORT: Loss.UNSUPPORTED,
}

_FATAL = (ErrorCode.UNAUTHORIZED, ErrorCode.STALE_NONCE, ErrorCode.WRONG_CREDENTIALS)
"""Answers about one peer that are about the whole allocation."""


class _State(enum.Enum):
    IDLE = "idle"
    ALLOCATING = "allocating"
    ALLOCATED = "allocated"
    CLOSING = "closing"
    CLOSED = "closed"


class TurnClient:
    """One allocation. See `keynet.engine.Engine` for the verbs that are not told here."""

    def __init__(
        self,
        credentials: Credentials,
        random_bytes: Callable[[int], bytes],
        *,
        ipv6: bool = False,
        reliable: bool = False,
    ) -> None:
        """`ipv6` asks for a relayed address of that family; `reliable` says that a stream carries
        the messages, so that nothing is sent twice; `random_bytes` must not be guessable."""
        self.counters: Counter[str] = Counter()
        """What was dropped, by reason."""
        self._random_bytes = random_bytes
        self._family = codec.FAMILY_IPV6 if ipv6 else codec.FAMILY_IPV4
        self._state = _State.IDLE
        self._requests = Requests(credentials, random_bytes, reliable=reliable)
        self._peers = Peers()
        self._freed = False
        self._refresh_at = self._expires_at = self._keepalive_at = NEVER
        self._outgoing: deque[Datagrams] = deque()
        self._events: deque[ClientEvent] = deque()
        self._queued = self._untaken = 0

    def allocate(self, now: float) -> None:
        """Ask for a relayed address: Allocated or AllocationLost follows. Once only."""
        if self._state is _State.IDLE:
            self._state = _State.ALLOCATING
            self._request_allocation(now)

    def permit(self, peer: SocketAddress, now: float) -> bool:
        """Let a peer's host pass: PeerPermitted or PeerRefused follows.

        False when there is no allocation, or too many peers. Asking again is harmless.
        """
        if self._state is not _State.ALLOCATED:
            return False
        if self._peers.get(peer) is not None:
            return True
        added = self._peers.add(peer)
        if added is None:
            return False
        self._renew(added, now)
        return True

    def forget(self, peer: SocketAddress, now: float) -> None:
        """Renew a peer no more: within five minutes it is shut out. Idempotent."""
        self._peers.remove(peer, now)

    def send(self, datagrams: Datagrams, address: SocketAddress, now: float) -> bool:
        """Send a batch to a permitted peer; False when it was dropped.

        It goes by channel as soon as the server has agreed to one, before that in indications,
        whose datagrams are 36 (IPv4) or 48 bytes longer. The buffer may be reused at once.
        """
        peer = self._peers.get(address)
        if peer is None or not peer.permitted or self._state is not _State.ALLOCATED:
            return self._drop("to a peer without permission")
        if self._queued + len(datagrams.data) > MAX_QUEUED:
            return self._drop("more than waits to be sent")
        if not peer.bound and not peer.channel and peer.bindable:
            self._bind(peer, now)
        if datagrams.stride > (channel_data.MAX_PAYLOAD if peer.bound else codec.MAX_DATA):
            return self._drop("too long for a relay")
        if peer.bound:
            self._put(channel_data.wrap(peer.channel, datagrams))
        else:
            self._put(codec.indications(Method.SEND, address, datagrams, self._random_bytes))
        return True

    def close(self, now: float) -> None:
        """Give the allocation up, and tell the server; AllocationLost follows. Idempotent."""
        if self._state in (_State.CLOSING, _State.CLOSED):
            return
        if not self._requests.can_sign:
            self._lose(Loss.CLOSED, "closed before there was an allocation")
            return
        self._state = _State.CLOSING
        self._requests.clear()
        self._peers.clear()
        self._outgoing.clear()
        self._queued = 0
        self._refresh_at = self._expires_at = self._keepalive_at = NEVER
        self._start(Request(Method.REFRESH, {"LIFETIME": 0}, attempts=CLOSING_ATTEMPTS), now)

    def receive(self, datagrams: Datagrams, now: float) -> None:
        """Take a batch that came from the server's address."""
        if self._state in (_State.IDLE, _State.CLOSED):
            self.counters["without an allocation"] += len(datagrams)
            return
        runs, messages = channel_data.separate(datagrams)
        for run in runs:
            self._receive_channels(run)
        for one in messages:
            self._receive_message(one, now)

    def datagrams_to_send(self, now: float) -> list[Datagrams]:
        """What goes to the server now."""
        due, silent = self._requests.due(now)
        if silent:
            self._fell_silent()
            due = []
        batches = [Datagrams(one) for one in due]
        batches.extend(self._outgoing)
        self._outgoing.clear()
        self._queued = 0
        if batches and self._state is _State.ALLOCATED:
            self._keepalive_at = now + KEEPALIVE
        return batches

    def next_deadline(self) -> float | None:
        """When to call `handle_deadline`, and then `datagrams_to_send`."""
        if self._state is _State.CLOSED:
            return None
        times = (self._refresh_at, self._expires_at, self._keepalive_at)
        first = min(*times, self._peers.next_renewal())
        resend_at = self._requests.next_deadline()
        first = first if resend_at is None else min(first, resend_at)
        return None if first == NEVER else first

    def handle_deadline(self, now: float) -> None:
        """Refresh what expires."""
        if now >= self._expires_at:
            self._lose(Loss.EXPIRED, "it could not be refreshed in time")
            return
        if now >= self._refresh_at:
            self._refresh_at = NEVER
            self._start(Request(Method.REFRESH, {"LIFETIME": LIFETIME}), now)
        for peer in self._peers.due(now):
            self._renew(peer, now)
        if now >= self._keepalive_at:
            self._keepalive_at = NEVER  # until it has been sent
            transaction_id = self._random_bytes(codec.TRANSACTION_ID_BYTES)
            self._put(Datagrams(codec.encode(Method.BINDING, Class.INDICATION, transaction_id, {})))

    def next_event(self) -> ClientEvent | None:
        """The oldest event not yet taken, or None."""
        if not self._events:
            return None
        event = self._events.popleft()
        if isinstance(event, DataReceived):
            self._untaken -= len(event.datagrams.data)
        return event

    def _request_allocation(self, now: float) -> None:
        wanted: dict[str, Any] = {"REQUESTED-TRANSPORT": codec.UDP_TRANSPORT}
        if self._family != codec.FAMILY_IPV4:  # the default, and unknown to old servers
            wanted["REQUESTED-ADDRESS-FAMILY"] = self._family
        self._start(Request(Method.ALLOCATE, wanted), now)

    def _renew(self, peer: Peer, now: float) -> None:
        """Ask for a permission (again); for a channel, which includes it, where there is one."""
        peer.renew_at = NEVER
        attributes: dict[str, Any] = {"XOR-PEER-ADDRESS": codec.unzoned(peer.address)}
        method = Method.CREATE_PERMISSION
        if peer.bound:
            method = Method.CHANNEL_BIND
            attributes = {"CHANNEL-NUMBER": peer.channel, **attributes}
        self._start(Request(method, attributes, peer.address), now)

    def _bind(self, peer: Peer, now: float) -> None:
        if not self._peers.number_for(peer, now):
            peer.bindable = False
            return
        attributes = {
            "CHANNEL-NUMBER": peer.channel,
            "XOR-PEER-ADDRESS": codec.unzoned(peer.address),
        }
        self._start(Request(Method.CHANNEL_BIND, attributes, peer.address), now)

    def _start(self, request: Request, now: float) -> None:
        if not self._requests.start(request, now):
            self._lose(Loss.SILENCE, "too many requests have had no answer")

    def _receive_channels(self, run: Datagrams) -> None:
        taken = 0
        for number, datagrams in channel_data.unwrap(run):
            peer = self._peers.on_channel(number)
            if peer is not None:
                taken += len(datagrams)
                self._received(peer.address, datagrams)
        if taken < len(run):
            self.counters["of no channel"] += len(run) - taken

    def _receive_message(self, datagram: Buffer, now: float) -> None:
        message = codec.parse(datagram)
        if message is None:
            self.counters["malformed"] += 1
        elif message.message_class is Class.INDICATION:
            self._receive_indication(message)
        elif message.message_class is not Class.REQUEST:
            self._receive_answer(message, now)
        else:
            self.counters["requests"] += 1

    def _receive_indication(self, message: Message) -> None:
        data = message.attributes.get("DATA")
        if message.method is not Method.DATA or len(message.peers) != 1 or message.unknown:
            self.counters["malformed"] += 1
        elif not self._peers.permits(message.peers[0].host):
            self.counters["from a peer without permission"] += 1
        elif data:
            self._received(message.peers[0], Datagrams(data))

    def _received(self, peer: SocketAddress, datagrams: Datagrams) -> None:
        if self._untaken + len(datagrams.data) > MAX_QUEUED:
            self.counters["more than was taken"] += len(datagrams)
            return
        self._untaken += len(datagrams.data)
        self._events.append(DataReceived(peer, datagrams))

    def _receive_answer(self, message: Message, now: float) -> None:
        answer = self._requests.answered(message, now)
        if isinstance(answer, str):
            self.counters[answer] += 1
        elif answer is not None and answer.code:
            self._refused(answer.request, answer.code, answer.reason, now)
        elif answer is not None:
            self._succeeded(answer.request, answer.message, now)

    def _succeeded(self, request: Request, message: Message, now: float) -> None:
        if self._state is _State.CLOSING:
            self._lose(Loss.CLOSED, "closed")
        elif request.method is Method.ALLOCATE:
            self._allocated(message, now)
        elif request.method is Method.REFRESH and self._state is _State.ALLOCATING:
            self._request_allocation(now)
        elif request.method is Method.REFRESH:
            self._prolong(message, now)
        elif request.peer is not None:
            self._permitted(request, request.peer, now)

    def _allocated(self, message: Message, now: float) -> None:
        relayed = message.address("XOR-RELAYED-ADDRESS")
        if relayed is None:
            self._lose(Loss.REFUSED, "the relay's answer names no relayed address")
            return
        self._state = _State.ALLOCATED
        self._keepalive_at = now + KEEPALIVE
        mapped = message.address("XOR-MAPPED-ADDRESS")
        lifetime = self._prolong(message, now)
        if lifetime:
            self._events.append(Allocated(relayed, mapped, lifetime))

    def _prolong(self, message: Message, now: float) -> float:
        lifetime = min(float(message.attributes.get("LIFETIME", LIFETIME)), LONGEST_LIFETIME)
        if not lifetime:
            self._lose(Loss.EXPIRED, "the relay grants no time")
            return 0.0
        self._refresh_at = now + max(lifetime - 60.0, lifetime / 2)
        self._expires_at = now + lifetime
        return lifetime

    def _permitted(self, request: Request, address: SocketAddress, now: float) -> None:
        peer = self._peers.get(address)
        if peer is None:
            return
        if request.method is Method.CHANNEL_BIND:
            peer.bound = True
        if not peer.permitted:
            peer.permitted = True
            self._events.append(PeerPermitted(address))
        peer.renew_at = now + RENEWAL

    def _refused(self, request: Request, code: int, reason: str, now: float) -> None:
        """An error that is not about how a request was signed."""
        mismatch = code == ErrorCode.ALLOCATION_MISMATCH
        if self._state is _State.CLOSING:
            self._lose(Loss.CLOSED, "closed")
        elif request.method is Method.ALLOCATE and mismatch and not self._freed:
            self._freed = True  # this socket's earlier allocation is still there: end it
            self._start(Request(Method.REFRESH, {"LIFETIME": 0}), now)
        elif request.method is Method.REFRESH and self._state is _State.ALLOCATING:
            self._request_allocation(now)
        elif request.peer is not None and not mismatch and code not in _FATAL:
            self._peer_refused(request, request.peer, code, reason, now)
        else:
            self._lose(_REASONS.get(code, Loss.REFUSED), f"{code} {reason}".strip())

    def _peer_refused(
        self, request: Request, address: SocketAddress, code: int, reason: str, now: float
    ) -> None:
        peer = self._peers.get(address)
        if peer is None:
            return
        if request.method is Method.CHANNEL_BIND:  # a permission alone may still be had
            peer.bound = peer.bindable = False
            self._renew(peer, now)
            return
        self._peers.remove(address, now)
        self._events.append(PeerRefused(address, code, reason))

    def _fell_silent(self) -> None:
        closing = self._state is _State.CLOSING
        self._lose(Loss.CLOSED if closing else Loss.SILENCE, "no answer to several requests")

    def _lose(self, reason: Loss, detail: str) -> None:
        if self._state is _State.CLOSED:
            return
        self._state = _State.CLOSED
        self._requests.clear()
        self._peers.clear()
        self._outgoing.clear()
        self._queued = 0
        self._refresh_at = self._expires_at = self._keepalive_at = NEVER
        self._events.append(AllocationLost(reason, detail))

    def _put(self, datagrams: Datagrams) -> None:
        self._queued += len(datagrams.data)
        self._outgoing.append(datagrams)

    def _drop(self, why: str) -> bool:
        self.counters[why] += 1
        return False
