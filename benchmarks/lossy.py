"""The middle of the lossy path: a user-space forwarder with a rate, a delay and loss.

The kernel here need not have netem. Each way has a drop-tail queue before the bottleneck; delay is
constant after it, so nothing is reordered. Loss is drawn before the queue. It stands beside the
server, behind the veth pair: on loopback nothing would keep the client's packets to LARGEST.
"""

from __future__ import annotations

import json
import random
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from benchmarks.network import Network
from benchmarks.process import Process
from benchmarks.session import START_TIMEOUT, Between
from benchmarks.stream import Address

HEADERS = 28
"""IPv4 and UDP, which the link's rate counts too."""
LARGEST = 1472
"""What passes: as on Ethernet, also from the server, whose own loopback would take more."""
SOCKET_BUFFER = 4 << 20


@dataclass(frozen=True, slots=True)
class Model:
    """One bad path; the same in both directions."""

    bits_per_s: float = 200e6
    round_trip_s: float = 0.050
    loss: float = 0.01
    queue_bytes: int = 1_250_000
    """Before the bottleneck: one bandwidth-delay product."""

    @property
    def payload_mb_per_s(self) -> float:
        """What the link could carry at most, in 10^6 bytes of full UDP payloads."""
        return self.bits_per_s / 8e6 * LARGEST / (LARGEST + HEADERS)


MODEL = Model()


@contextmanager
def lossy_path(network: Network, address: Address) -> Iterator[Between]:
    """Start a forwarder in front of the server, at the server's place."""
    given = json.dumps({"target": [address["host"], address["port"]], **asdict(MODEL)})
    command = (*network.server_prefix, sys.executable, "-m", "benchmarks.lossy", given)
    with Process("forwarder", command) as forwarder:
        yield Between({**address, **forwarder.hear(START_TIMEOUT)}, (forwarder,))


class _Way:
    """One direction: what is under way, in order of its arrival."""

    def __init__(self, model: Model, deliver: Callable[[bytes], None]) -> None:
        self._model, self._deliver = model, deliver
        self._under_way: deque[tuple[float, bytes]] = deque()
        self._free_at = 0.0
        self._random = random.Random(1)

    def take(self, datagram: bytes, now: float) -> None:
        model = self._model
        if len(datagram) > LARGEST or self._random.random() < model.loss:
            return
        free_at = max(now, self._free_at)
        if (free_at - now) * model.bits_per_s / 8 > model.queue_bytes:
            return
        self._free_at = free_at + (len(datagram) + HEADERS) * 8 / model.bits_per_s
        self._under_way.append((self._free_at + model.round_trip_s / 2, datagram))

    def deliver_due(self, now: float) -> None:
        while self._under_way and self._under_way[0][0] <= now:
            self._deliver(self._under_way.popleft()[1])


class _Forwarder:
    """Between one client at a time and the target."""

    def __init__(self, target: tuple[str, int], model: Model) -> None:
        self.outside, self._inside = _socket(target[0]), _socket(target[0])
        self._inside.connect(target)
        self._client: tuple[str, int] | None = None
        self._there = _Way(model, self._to_target)
        self._back = _Way(model, self._to_client)

    def run(self) -> None:
        """Poll each half millisecond: no timer and no wake-up per datagram."""
        while True:
            now = time.monotonic()
            for sock, way in ((self.outside, self._there), (self._inside, self._back)):
                self._drain(sock, way, now)
                way.deliver_due(now)
            time.sleep(0.0005)

    def _drain(self, sock: socket.socket, way: _Way, now: float) -> None:
        while True:
            try:
                datagram, source = sock.recvfrom(65535)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                continue
            if sock is self.outside:
                self._client = source
            way.take(datagram, now)

    def _to_target(self, datagram: bytes) -> None:
        self._send(lambda: self._inside.send(datagram))

    def _to_client(self, datagram: bytes) -> None:
        if (client := self._client) is not None:
            self._send(lambda: self.outside.sendto(datagram, client))

    def _send(self, send: Callable[[], int]) -> None:
        try:
            send()
        except (BlockingIOError, ConnectionRefusedError):
            return  # one more loss


def _socket(host: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
    sock.bind((host, 0))
    return sock


def main() -> None:
    given = json.loads(sys.argv[1])
    forwarder = _Forwarder(tuple(given.pop("target")), Model(**given))
    host, port = forwarder.outside.getsockname()
    print(json.dumps({"event": "ready", "host": host, "port": port}), flush=True)
    forwarder.run()


if __name__ == "__main__":
    main()
