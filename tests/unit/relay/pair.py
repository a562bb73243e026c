"""A TURN client and a TURN server joined without sockets, on virtual time, over a lossy way."""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable, Iterator

from keynet.address import SocketAddress
from keynet.engine import Datagrams
from keynet.relay.client import TurnClient
from keynet.relay.credentials import Credentials, SharedSecret, ephemeral
from keynet.relay.events import ClientEvent, PortReleased, PortWanted
from keynet.relay.limits import RelayLimits
from keynet.relay.reach import Reach
from keynet.relay.server import LISTENING, TurnServer
from keynet.udp.path import Path

SECRET = b"known to servers"
UNIX_TIME = 1_800_000_000
START = 1000.0
CLIENT = Path(SocketAddress("198.41.0.4", 5000))
RELAY = "9.9.9.9"
PEER = SocketAddress("8.8.8.8", 4433)
PEER6 = SocketAddress("2620:fe::9", 4433)
DELAY = 0.02
PORTS = 49152


def numbered(salt: bytes = b"") -> Callable[[int], bytes]:
    """Bytes that differ each time, and are the same in each run."""
    counter = iter(range(1 << 30))
    return lambda size: hashlib.shake_128(salt + next(counter).to_bytes(4)).digest(size)


def batch(*datagrams: bytes) -> Datagrams:
    """All as long as the first, but for the last."""
    return Datagrams(b"".join(datagrams), len(datagrams[0]))


def credentials(name: str = "a-node", lasting: int = 3600) -> Credentials:
    return ephemeral(SECRET, name, UNIX_TIME + lasting)


class Pair:
    """One client, one server, and a peer that keeps what it gets."""

    def __init__(
        self,
        *,
        limits: RelayLimits | None = None,
        reach: Reach | None = None,
        loss: float = 0.0,
        seed: int = 0,
        ipv6: bool = False,
        shown: Credentials | None = None,
    ) -> None:
        self.now = START
        self.ports_fail = False
        self.client_path = CLIENT
        self.server_answers = True
        self.server = self.new_server(limits, reach)
        self._clients = 0
        self.client = self.new_client(shown, ipv6=ipv6)
        self.events: list[ClientEvent] = []
        self.at_peer: list[tuple[SocketAddress, bytes]] = []
        self.to_client: list[Datagrams] = []
        self.to_server: list[bytes] = []
        self.released: list[str] = []
        self.opened: dict[int, SocketAddress] = {}
        self._loss, self._rng = loss, random.Random(seed)
        self._way: list[tuple[float, int, bool, Datagrams]] = []
        self._order = iter(range(1 << 30))

    def new_server(
        self, limits: RelayLimits | None = None, reach: Reach | None = None
    ) -> TurnServer:
        password_of = SharedSecret(SECRET, lambda: UNIX_TIME + self.now - START).password
        nonce_secret = self.now.hex().encode()
        return TurnServer(password_of, numbered(), nonce_secret, limits=limits, reach=reach)

    def new_client(self, shown: Credentials | None = None, *, ipv6: bool = False) -> TurnClient:
        """Another client, which would use the same socket."""
        self._clients += 1
        random_bytes = numbered(bytes([self._clients]))
        return TurnClient(shown or credentials(), random_bytes, ipv6=ipv6)

    def run(self, duration: float) -> None:
        """Let time pass."""
        end = self.now + duration
        while True:
            self._pump()
            at = min(self._times(), default=end)
            if at > end:
                break
            self.now = max(self.now, at)
            self._deliver()
            self.client.handle_deadline(self.now)
            self.server.handle_deadline(self.now)
            if at == end:
                break
        self.now = end
        self._pump()

    def allocate(self) -> None:
        self.client.allocate(self.now)
        self.run(1.0)

    def permit(self, peer: SocketAddress = PEER) -> bool:
        permitted = self.client.permit(peer, self.now)
        self.run(1.0)
        return permitted

    def send(self, *datagrams: bytes, to: SocketAddress = PEER) -> bool:
        sent = self.client.send(batch(*datagrams), to, self.now)
        self.run(1.0)
        return sent

    def from_peer(self, *datagrams: bytes, peer: SocketAddress = PEER) -> None:
        number = max(self.opened)
        self.server.receive_relayed(batch(*datagrams), number, peer, self.now)
        self.run(1.0)

    def take(self, kind: type[ClientEvent]) -> list[ClientEvent]:
        """The events of that kind, which are then gone."""
        found = [one for one in self.events if isinstance(one, kind)]
        self.events = [one for one in self.events if not isinstance(one, kind)]
        return found

    def _times(self) -> Iterator[float]:
        if self._way:
            yield self._way[0][0]
        for deadline in (self.client.next_deadline(), self.server.next_deadline()):
            if deadline is not None:
                yield deadline

    def pump_server(self) -> None:
        while (wanted := self.server.next_event()) is not None:
            self._on_server_event(wanted)
        for number, path, datagrams in self.server.transmissions():
            if number == LISTENING:
                self.to_client.append(datagrams)
                self._put(False, datagrams)
            else:
                self.at_peer.extend((path.remote, bytes(one)) for one in datagrams)

    def _pump(self) -> None:
        for datagrams in self.client.datagrams_to_send(self.now):
            self.to_server.extend(bytes(one) for one in datagrams)
            self._put(True, datagrams)
        self.pump_server()
        while (event := self.client.next_event()) is not None:
            self.events.append(event)

    def _on_server_event(self, event: PortWanted | PortReleased) -> None:
        if isinstance(event, PortReleased):
            self.released.append(event.reason)
            del self.opened[event.number]
        elif self.ports_fail:
            self.server.port_failed(event.number, self.now)
        else:
            host = "2620:fe::fe" if event.ipv6 else RELAY
            self.opened[event.number] = SocketAddress(host, PORTS + event.number)
            self.server.port_opened(event.number, self.opened[event.number], self.now)

    def _put(self, to_server: bool, datagrams: Datagrams) -> None:
        if self._rng.random() >= self._loss:
            copied = Datagrams(bytes(datagrams.data), datagrams.stride)
            heapq.heappush(self._way, (self.now + DELAY, next(self._order), to_server, copied))

    def _deliver(self) -> None:
        while self._way and self._way[0][0] <= self.now:
            _, _, to_server, datagrams = heapq.heappop(self._way)
            if not to_server:
                self.client.receive(datagrams, self.now)
            elif self.server_answers:
                self.server.receive(datagrams, self.client_path, self.now)
