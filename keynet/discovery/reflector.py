"""Telling strangers where their questions come from, as a STUN server does (RFC 8489 section 12).

With a second IP address and port it also answers from the other ones, so that a stranger learns
how its NAT maps and filters (RFC 5780). That takes four sockets: the node's own, and three more
that do nothing else. Nothing here is authenticated, so all is bounded: a few answers a second to
one address, none of them much larger than its question.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from keynet.address import SocketAddress
from keynet.engine import Datagrams
from keynet.errors import ConfigError
from keynet.rates import Rates
from keynet.stun.binding import Question, read, reflection
from keynet.udp.api import Endpoint, Sent
from keynet.udp.endpoint import bind
from keynet.udp.path import Path

RATE, BURST = 5.0, 40.0
"""Questions of one IP address that are answered: a second, and at once (an examination of a NAT
takes about thirty)."""

BUFFER_SIZE = 256 * 1024

Open = Callable[[SocketAddress], Awaitable[Endpoint]]

_Corner = tuple[bool, bool]
"""Which of the two IP addresses and of the two ports: (other address?, other port?)."""


async def small_socket(address: SocketAddress) -> Endpoint:
    """A UDP socket that takes no more than questions. Raises OSError as bind(2) does."""
    return await bind((address,), buffer_size=BUFFER_SIZE)


class Reflector:
    """Answers questions over a node's endpoint. Close it with `close`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.counters: Counter[str] = Counter()
        """Questions answered and left unanswered, by reason."""
        self._endpoint = endpoint
        self._rates: Rates[str] = Rates(RATE, BURST)
        self._corners: dict[_Corner, SocketAddress] = {}
        self._sockets: dict[_Corner, Endpoint] = {}

    async def open(self, alternate: SocketAddress, socket: Open = small_socket) -> None:
        """Answer from a second IP address and port as well; `socket` opens each further one.

        Raises ConfigError when the addresses do not make up an RFC 5780 server, or are not free.
        """
        corners = corners_of(own_address(self._endpoint.addresses, alternate), alternate)
        for corner, address in corners.items():
            if corner == (False, False):
                continue
            try:
                self._sockets[corner] = await socket(address)
            except OSError as error:
                self.close()
                raise ConfigError(
                    f"the seed cannot listen on UDP {address}, which --alternate {alternate} "
                    f"takes: {error.strerror or error}"
                ) from error
            self._sockets[corner].set_receiver(_Ear(self, corner))
        self._corners = corners

    def asked(
        self, question: Question, path: Path, now: float, corner: _Corner = (False, False)
    ) -> None:
        """Answer a question that came over `path`, as far as that is right."""
        if self._rates.take(path.remote.host, now):
            self.counters["questions above the rate"] += 1
            return
        through = _other(corner, question.change_address, question.change_port)
        if corner not in self._corners or path.remote.is_ipv6 != self._corners[corner].is_ipv6:
            self._answer_plainly(question, path)
            return
        answer = reflection(
            question,
            path.remote,
            origin=self._corners[through],
            other=self._corners[_other(corner, True, True)],
        )
        way = path if through == corner else Path(path.remote)
        self._send(answer, way, self._sockets.get(through, self._endpoint))

    def close(self) -> None:
        """Close the three sockets; idempotent."""
        for one in self._sockets.values():
            one.close()
        self._sockets.clear()
        self._corners = {}

    def _answer_plainly(self, question: Question, path: Path) -> None:
        """With one address there is no other to answer from: silence says so to who wants one."""
        if question.change_address or question.change_port:
            self.counters["questions for another address"] += 1
        else:
            self._send(reflection(question, path.remote), path, self._endpoint)

    def _send(self, answer: bytes, path: Path, through: Endpoint) -> None:
        sent = through.send(Datagrams(answer), path)
        self.counters["answered" if sent is Sent.OK else "unsent"] += 1


def own_address(bound: tuple[SocketAddress, ...], alternate: SocketAddress) -> SocketAddress:
    """The bound address that `alternate` completes. Raises ConfigError when there is none."""
    own = next((one for one in bound if one.is_ipv6 == alternate.is_ipv6), None)
    if own is None:
        raise ConfigError(f"--alternate {alternate} needs --listen with an address of its family")
    for one in (own, alternate):
        if ipaddress.ip_address(one.host).is_unspecified:
            raise ConfigError(
                "with --alternate, --listen and --alternate each name one address of this "
                f"machine, not {one.host}, which is all of them"
            )
    return own


def corners_of(own: SocketAddress, alternate: SocketAddress) -> dict[_Corner, SocketAddress]:
    """The four addresses of a server (RFC 5780 section 6). Raises ConfigError for fewer."""
    if own.host == alternate.host or own.port == alternate.port or alternate.port == 0:
        raise ConfigError(
            f"--alternate takes another IP address and another port than --listen {own}, "
            f"not {alternate}: only from those is it seen how a NAT maps and filters"
        )
    hosts, ports = (own.host, alternate.host), (own.port, alternate.port)
    return {
        (bool(h), bool(p)): SocketAddress(hosts[h], ports[p]) for h in range(2) for p in range(2)
    }


def _other(corner: _Corner, change_address: bool, change_port: bool) -> _Corner:
    return (corner[0] ^ change_address, corner[1] ^ change_port)


@dataclass(frozen=True, slots=True)
class _Ear:
    """Receives at one of the three further sockets."""

    reflector: Reflector
    corner: _Corner

    def datagrams_received(self, datagrams: Datagrams, path: Path, now: float) -> None:
        for datagram in datagrams:
            question = read(datagram)
            if isinstance(question, Question):
                self.reflector.asked(question, path, now, self.corner)
            else:
                self.reflector.counters["no questions"] += 1

    def drained(self, now: float) -> None:
        """Everything was answered at once."""

    def writable(self) -> None:
        """Nothing waits: who is not answered asks again."""

    def endpoint_failed(self, error: OSError) -> None:
        self.reflector.counters[f"a socket failed: {error.strerror or error}"] += 1
