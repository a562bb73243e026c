"""Punches a hole the plainest way, to prove what a lab lets through. Knows nothing of keynet.

Usage: punch.py ADDRESS PORT SECONDS, the reflector's. It prints the endpoint that the reflector
sees, takes the peer's as a JSON list on its input, and sends to it at once, and to wherever the
peer's packets come from. It prints a JSON object: `direct`, whether both sides hear each other.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

PACING = 0.05
MOST_TARGETS = 4
FAREWELLS = 4
"""Packets that are still sent when all is known, so that the peer knows as well."""

Endpoint = tuple[str, int]


def seen_from(sock: socket.socket, reflector: Endpoint) -> Endpoint:
    for _ in range(10):
        sock.sendto(b'{"id": 1}', reflector)
        if select.select([sock], [], [], 0.3)[0]:
            address, port = json.loads(sock.recv(2048))["seen"]
            return address, port
    sys.exit("the reflector does not answer")


def punch(sock: socket.socket, peer: Endpoint, seconds: float) -> bool:
    """Each packet says whether its sender has heard the peer."""
    targets, heard, is_heard, farewells = [peer], False, False, FAREWELLS
    end = time.monotonic() + seconds
    while time.monotonic() < end and farewells:
        for target in targets:
            sock.sendto(json.dumps({"heard": heard}).encode(), target)
        next_at = time.monotonic() + PACING
        while select.select([sock], [], [], max(0.0, next_at - time.monotonic()))[0]:
            data, sender = sock.recvfrom(2048)
            message = json.loads(data)
            if "heard" not in message:  # the reflector's, late
                continue
            heard, is_heard = True, is_heard or message["heard"]
            if sender[:2] not in targets and len(targets) < MOST_TARGETS:
                targets.append(sender[:2])
        farewells -= heard and is_heard
    return heard and is_heard


def main() -> None:
    reflector = sys.argv[1], int(sys.argv[2])
    sock = socket.socket(
        socket.AF_INET6 if ":" in reflector[0] else socket.AF_INET, socket.SOCK_DGRAM
    )
    print(json.dumps(seen_from(sock, reflector)), flush=True)
    address, port = json.loads(sys.stdin.readline())
    print(json.dumps({"direct": punch(sock, (address, port), float(sys.argv[3]))}))


if __name__ == "__main__":
    main()
