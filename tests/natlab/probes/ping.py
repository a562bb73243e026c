"""Times a reflector's answers. Knows nothing of keynet.

Usage: ping.py ADDRESS PORT COUNT INTERVAL [PADDING]. Sends COUNT requests, INTERVAL seconds apart,
PADDING bytes larger than need be, and waits a second for the last answers. It prints a JSON object:
`times` in seconds by the number of the request, null for what was lost; `order` of the numbers as
they came; `took`, from the first request to the last answer; `seen`, the endpoint of this socket.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
import time

LINGER = 1.0


def main() -> None:
    with contextlib.suppress(PermissionError):  # what it measures is the network, not the machine
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    interval = float(sys.argv[4])
    padding = "x" * int(sys.argv[5]) if len(sys.argv) > 5 else ""
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    sent_at: list[float] = []
    came_at: dict[int, float] = {}
    seen, began_at = None, time.monotonic()
    while len(came_at) < count:
        next_at = began_at + len(sent_at) * interval
        if len(sent_at) < count and time.monotonic() >= next_at:
            request = json.dumps({"id": len(sent_at), "padding": padding}).encode()
            sent_at.append(time.monotonic())
            sock.sendto(request, (address, port))
        wait_until = next_at if len(sent_at) < count else sent_at[-1] + LINGER
        ready, _, _ = select.select([sock], [], [], max(0.0, wait_until - time.monotonic()))
        if ready:
            answer = json.loads(sock.recv(2048))
            came_at.setdefault(answer["id"], time.monotonic())
            seen = answer["seen"]
        elif len(sent_at) == count and time.monotonic() >= wait_until:
            break
    times = [came_at[i] - sent_at[i] if i in came_at else None for i in range(count)]
    took = max(came_at.values(), default=began_at) - began_at
    print(json.dumps({"times": times, "order": list(came_at), "took": took, "seen": seen}))


if __name__ == "__main__":
    main()
