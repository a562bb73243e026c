"""Classifies the NAT in front of this host, with a `reflector`'s help. Knows nothing of keynet.

Usage: classify.py ADDRESS ADDRESS PORT PORT [LIFETIME], the reflector's addresses and ports, and
the mapping lifetime to look around (seconds; none is measured without). It prints a JSON object:

  udp        whether anything came back at all; nothing else is told where not
  translated whether the reflector sees another address than the host's own; mapping, ports and
             hairpin are told only where it does
  mapping    endpoint-independent, address-dependent or address-and-port-dependent
  filtering  the same words: what decides who may answer
  ports      preserved, sequential or random
  hairpin    whether two sockets of this host reach each other by their public endpoints
  lifetime   [longest wait after which an answer still came, shortest after which none did]
"""

from __future__ import annotations

import contextlib
import itertools
import json
import select
import socket
import sys
import time
from typing import Any

Endpoint = tuple[str, int]

TRIES = 3
PATIENCE = 0.4
"""Seconds to wait for an answer; the lab's round trips are far below."""
SETTLED = 0.4
"""Seconds after which what has not come is taken to be filtered."""
WORDS = ("endpoint-independent", "address-dependent", "address-and-port-dependent")

numbers = itertools.count(1)


class Probe:
    """A UDP socket with a port of its own that asks the reflector."""

    def __init__(self, reflector: dict[tuple[int, int], Endpoint]) -> None:
        self._reflector = reflector
        family = socket.AF_INET6 if ":" in reflector[0, 0][0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind(("", 0))

    @property
    def port(self) -> int:
        port: int = self.socket.getsockname()[1]
        return port

    def send(self, to: tuple[int, int], **request: Any) -> int:
        number = next(numbers)
        with contextlib.suppress(OSError):  # where nothing may leave, no answer says as much
            data = json.dumps({"id": number, **request}).encode()
            self.socket.sendto(data, self._reflector[to])
        return number

    def receive(self, patience: float) -> dict[str, Any] | None:
        ready, _, _ = select.select([self.socket], [], [], max(0.0, patience))
        if not ready:
            return None
        answer: dict[str, Any] = json.loads(self.socket.recv(2048))
        return answer

    def seen(self, to: tuple[int, int]) -> Endpoint | None:
        """What that part of the reflector sees this socket as."""
        for _ in range(TRIES):
            number = self.send(to)
            end = time.monotonic() + PATIENCE
            while (answer := self.receive(end - time.monotonic())) is not None:
                if answer["id"] == number:
                    return answer["seen"][0], answer["seen"][1]
        return None

    def is_answered(self, by: tuple[int, int]) -> bool:
        """Whether an answer from there comes through after a question to another part."""
        number = self.send((0, 0), **{"from": by})
        end = time.monotonic() + SETTLED
        while (answer := self.receive(end - time.monotonic())) is not None:
            if answer["id"] == number:
                return True
        return False


class Classifier:
    def __init__(self, addresses: list[str], ports: list[int]) -> None:
        self._reflector = {
            (i, j): (address, port)
            for (i, address), (j, port) in itertools.product(enumerate(addresses), enumerate(ports))
        }

    def probe(self) -> Probe:
        return Probe(self._reflector)

    def report(self, lifetime: float) -> dict[str, Any]:
        first = self.probe().seen((0, 0))
        if first is None:
            return {"udp": False}
        report: dict[str, Any] = {"udp": True, "translated": first[0] != self._own_address()}
        if report["translated"]:
            report["mapping"] = self.mapping()
            report["ports"] = self.ports()
            report["hairpin"] = self.hairpin()
        report["filtering"] = self.filtering()
        if lifetime:
            report["lifetime"] = self.lifetime(lifetime)
        return report

    def mapping(self) -> str:
        probe = self.probe()
        first, same_address, other = (probe.seen(to) for to in ((0, 0), (0, 1), (1, 0)))
        if first == same_address == other:
            return WORDS[0]
        return WORDS[1] if first == same_address else WORDS[2]

    def filtering(self) -> str:
        if self.probe().is_answered((1, 1)):
            return WORDS[0]
        return WORDS[1] if self.probe().is_answered((0, 1)) else WORDS[2]

    def ports(self) -> str:
        """From many mappings in a row: each of a socket of its own, to each part in turn."""
        asked = [(self.probe(), to) for _ in range(3) for to in self._reflector]
        seen = [(probe.port, public[1]) for probe, to in asked if (public := probe.seen(to))]
        if all(own == public for own, public in seen):
            return "preserved"
        steps = [after - before for (_, before), (_, after) in itertools.pairwise(seen)]
        return "sequential" if sum(0 < step <= 4 for step in steps) > len(steps) / 2 else "random"

    def hairpin(self) -> bool:
        """Both send, so that no filter stands in the way."""
        a, b = self.probe(), self.probe()
        seen_a, seen_b = a.seen((0, 0)), b.seen((0, 0))
        if seen_a is None or seen_b is None:
            return False
        for _ in range(TRIES):
            a.socket.sendto(b'{"id": -1}', seen_b)
            b.socket.sendto(b'{"id": -1}', seen_a)
        end = time.monotonic() + SETTLED
        while (answer := a.receive(end - time.monotonic())) is not None:
            if answer["id"] == -1:
                return True
        return False

    def lifetime(self, about: float) -> list[float | None]:
        """Many sockets, each asking once for an answer after a time of its own."""
        waits = [round(about * part, 2) for part in (0.3, 0.6, 0.8, 0.9, 1.1, 1.2)]
        probes = []
        for wait in waits:
            probe = self.probe()
            probe.send((0, 0), after=wait)
            probes.append((wait, probe))
        began_at = time.monotonic()
        answered = {
            wait: probe.receive(began_at + wait + SETTLED - time.monotonic()) is not None
            for wait, probe in probes
        }
        came = [wait for wait in waits if answered[wait]]
        lost = [wait for wait in waits if not answered[wait]]
        return [max(came, default=None), min(lost, default=None)]

    def _own_address(self) -> str:
        """The one that the kernel sends from; connecting sends nothing."""
        with self.probe().socket as sock:
            sock.connect(self._reflector[0, 0])
            address: str = sock.getsockname()[0]
            return address


def main() -> None:
    classifier = Classifier(sys.argv[1:3], [int(port) for port in sys.argv[3:5]])
    lifetime = float(sys.argv[5]) if len(sys.argv) > 5 else 0.0
    print(json.dumps(classifier.report(lifetime)))


if __name__ == "__main__":
    main()
