"""How the NAT or firewall before this machine maps and filters: the tests of RFC 5780. Sans-IO.

The tests stand in `_script`, one after another as the RFC has them; the class around it asks,
repeats, waits and matches answers. Filtering is tested before anything is sent to the server's
other addresses, since that would open the way for their answers. What a finding means for keynet
is `advice.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass, field
from enum import Enum

from keynet.address import SocketAddress
from keynet.config.values import check_peer_address
from keynet.discovery.reflexive import Mapping
from keynet.engine import Buffer
from keynet.errors import ConfigError
from keynet.stun.binding import TRANSACTION_ID_BYTES, Question, Reflection, question, read

PAUSES = (0.5, 0.5, 1.0)
"""Seconds after each asking of one test; most tests are answered at once or never."""
FIRST_PAUSES = (0.5, 1.0, 2.0)
"""Of the first test: whether UDP passes at all."""
SIZE_PAUSES = (0.4, 0.4, 0.8)

SIZES = (548, 1232, 1372, 1452, 1472, 8952, 8972)
"""UDP payloads tried: the least of IPv4 and IPv6, tunnels, Ethernet, jumbo frames."""


class Filtering(Enum):
    """Whose datagrams are let in to a port that has sent something (RFC 4787 section 5)."""

    UNKNOWN = "unknown"
    INDEPENDENT = "endpoint-independent"
    ADDRESS = "address-dependent"
    ADDRESS_AND_PORT = "address and port-dependent"


@dataclass(slots=True)
class Behaviour:
    """What one examination has found; None and UNKNOWN where nothing could be found."""

    server: SocketAddress
    mapped: SocketAddress | None = None
    """This socket's address as the server sees it; None when the server has not answered."""
    rtt: float | None = None
    """Seconds to the server and back."""
    other: SocketAddress | None = None
    """The server's other address; without one, only a second server shows the mapping."""
    mapping: Mapping = Mapping.UNKNOWN
    filtering: Filtering = Filtering.UNKNOWN
    hairpinning: bool | None = None
    """Whether this machine reaches its own outside address."""
    mtu: int | None = None
    """The largest UDP payload, of those tried, that has reached the server whole."""
    tried: tuple[int, ...] = ()
    """The payloads that were tried."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One test: a question, asked until it is answered or given up."""

    to: SocketAddress
    pauses: tuple[float, ...] = PAUSES
    change_address: bool = False
    change_port: bool = False
    size: int = 0
    second: bool = False
    """From the second socket."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of a test: the answer, or the question itself where a NAT turned it back."""

    message: Reflection | Question
    source: SocketAddress
    rtt: float


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A datagram to be sent with don't-fragment set."""

    data: bytes
    remote: SocketAddress
    second: bool


@dataclass(slots=True)
class _Test:
    ask: Ask
    due_at: float
    ids: dict[bytes, float] = field(default_factory=dict)
    """When each asking went out."""


class Examination:
    """One examination with one server, from two sockets of one family."""

    def __init__(
        self,
        server: SocketAddress,
        own: Collection[SocketAddress],
        random: Callable[[int], bytes],
        now: float,
        *,
        others: Sequence[SocketAddress] = (),
        ceiling: int = 1472,
    ) -> None:
        """`own` are the first socket's addresses on this machine, `others` further servers,
        `random` gives so many unpredictable bytes, `ceiling` is the largest UDP payload that the
        local interface takes."""
        self.found = Behaviour(server)
        self.finished = False
        self._own = frozenset(own)
        self._others = tuple(one for one in others if one != server)
        self._random = random
        self._ceiling = ceiling
        self._tests = self._script()
        self._test: _Test | None = None
        self._begin(next(self._tests), now)

    def datagrams_to_send(self, now: float) -> list[Outgoing]:
        """What is to be sent now."""
        test = self._test
        if test is None or test.due_at > now or len(test.ids) >= len(test.ask.pauses):
            return []
        ask = test.ask
        transaction_id = self._random(TRANSACTION_ID_BYTES)
        test.due_at = now + ask.pauses[len(test.ids)]
        test.ids[transaction_id] = now
        data = question(
            transaction_id,
            change_address=ask.change_address,
            change_port=ask.change_port,
            size=ask.size,
        )
        return [Outgoing(data, ask.to, ask.second)]

    def receive(self, datagram: Buffer, source: SocketAddress, now: float) -> None:
        """Take a datagram that came to the first socket, or to the second. Never raises."""
        message, test = read(datagram), self._test
        if test is None or not isinstance(message, Reflection | Question):
            return
        asked_at = test.ids.get(message.transaction_id)
        if asked_at is not None:
            self._go_on(Heard(message, source, now - asked_at), now)

    def failed(self, now: float) -> None:
        """What was sent last could not be sent: it will not be answered."""
        self._go_on(None, now)

    def next_deadline(self) -> float | None:
        """When to call `handle_deadline`; None when it is finished."""
        return self._test.due_at if self._test is not None else None

    def handle_deadline(self, now: float) -> None:
        """Tell the time; harmless when nothing is due."""
        test = self._test
        if test is not None and now >= test.due_at and len(test.ids) >= len(test.ask.pauses):
            self._go_on(None, now)

    def _begin(self, ask: Ask, now: float) -> None:
        self._test = _Test(ask, now)

    def _go_on(self, heard: Heard | None, now: float) -> None:
        if self._test is None:
            return
        try:
            self._begin(self._tests.send(heard), now)
        except StopIteration:
            self._test, self.finished = None, True

    # The tests

    def _script(self) -> Generator[Ask, Heard | None, None]:
        found = self.found
        first = yield Ask(found.server, FIRST_PAUSES)
        if first is None or not isinstance(first.message, Reflection):
            return
        found.mapped, found.rtt = first.message.mapped, first.rtt
        found.other = _another(first.message.other, found.server)
        if found.other is not None:
            yield from self._filtering(found.other)
        yield from self._mapping(found.mapped, found.other)
        if found.mapping is not Mapping.NONE:
            yield from self._hairpinning(found.mapped)
        yield from self._packet_size()

    def _filtering(self, other: SocketAddress) -> Generator[Ask, Heard | None, None]:
        """RFC 5780 section 4.4."""
        found = self.found
        anyone = yield Ask(found.server, change_address=True, change_port=True)
        if anyone is not None:
            if anyone.source == other:  # else the server has taken no notice of the wish
                found.filtering = Filtering.INDEPENDENT
            return
        same_host = yield Ask(found.server, change_port=True)
        if same_host is None:
            found.filtering = Filtering.ADDRESS_AND_PORT
        elif same_host.source == SocketAddress(found.server.host, other.port):
            found.filtering = Filtering.ADDRESS

    def _mapping(
        self, mapped: SocketAddress, other: SocketAddress | None
    ) -> Generator[Ask, Heard | None, None]:
        """RFC 5780 section 4.3; with servers of one address each, as far as those show it."""
        if mapped in self._own:
            self.found.mapping = Mapping.NONE
        elif other is None:
            yield from self._mapping_by_others(mapped)
        else:
            yield from self._mapping_by(mapped, other)

    def _mapping_by(
        self, mapped: SocketAddress, other: SocketAddress
    ) -> Generator[Ask, Heard | None, None]:
        second = yield Ask(SocketAddress(other.host, self.found.server.port))
        seen_second = _mapped(second)
        if seen_second is None:
            return
        if seen_second == mapped:
            self.found.mapping = Mapping.INDEPENDENT
            return
        third = yield Ask(other)
        seen_third = _mapped(third)
        if seen_third is None:
            self.found.mapping = Mapping.DEPENDENT
        elif seen_third == seen_second:
            self.found.mapping = Mapping.ADDRESS
        else:
            self.found.mapping = Mapping.ADDRESS_AND_PORT

    def _mapping_by_others(self, mapped: SocketAddress) -> Generator[Ask, Heard | None, None]:
        for server in self._others:
            seen = _mapped((yield Ask(server)))
            if seen is not None:
                same = seen == mapped
                self.found.mapping = Mapping.INDEPENDENT if same else Mapping.DEPENDENT
                return

    def _hairpinning(self, mapped: SocketAddress) -> Generator[Ask, Heard | None, None]:
        """RFC 5780 section 4.5, from both sides: a filter must not pass for a missing hairpin."""
        second = _mapped((yield Ask(self.found.server, second=True)))
        if second is None or not (_is_one_hosts(second) and _is_one_hosts(mapped)):
            return
        for there in (Ask(second), Ask(mapped, second=True)):
            back = yield there
            self.found.hairpinning = back is not None and isinstance(back.message, Question)
            if self.found.hairpinning:
                return

    def _packet_size(self) -> Generator[Ask, Heard | None, None]:
        """Padded questions, each larger than the last, until one is lost three times."""
        ceiling = self._ceiling - self._ceiling % 4
        for size in sorted({ceiling, *(size for size in SIZES if size < ceiling)}):
            self.found.tried += (size,)
            heard = yield Ask(self.found.server, SIZE_PAUSES, size=size)
            if heard is None:
                return
            self.found.mtu = size


def _another(other: SocketAddress | None, server: SocketAddress) -> SocketAddress | None:
    """The other address that a server tells, when one can test with it."""
    if other is None or other.host == server.host or other.port == server.port:
        return None
    return other if other.is_ipv6 == server.is_ipv6 and _is_one_hosts(other) else None


def _is_one_hosts(address: SocketAddress) -> bool:
    """Whether a question there reaches one machine at most: a server may say anything."""
    try:
        check_peer_address(address)
    except ConfigError:
        return False
    return True


def _mapped(heard: Heard | None) -> SocketAddress | None:
    if heard is None or not isinstance(heard.message, Reflection):
        return None
    return heard.message.mapped
