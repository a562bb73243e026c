"""A UDP reflector on two addresses and two ports, for `classify`. Knows nothing of keynet.

Usage: reflector.py ADDRESS ADDRESS PORT PORT. A request is a JSON object: `id`, and where wanted
`from` (which of the addresses and ports answers, as [0 or 1, 0 or 1]) and `after` (seconds). The
answer holds the `id` and what endpoint the request was `seen` from. It says "ready", and ends when
its input does.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import os
import select
import socket
import sys
import time

MOST_WAITING = 10_000


def open_sockets(addresses: list[str], ports: list[int]) -> dict[tuple[int, int], socket.socket]:
    """One for each address and port, by the index of either."""
    sockets = {}
    for (i, address), (j, port) in itertools.product(enumerate(addresses), enumerate(ports)):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sockets[i, j] = socket.socket(family, socket.SOCK_DGRAM)
        sockets[i, j].bind((address, port))
    return sockets


def serve(sockets: dict[tuple[int, int], socket.socket]) -> None:
    waiting: list[tuple[float, int, tuple[int, int], bytes, tuple[str, int]]] = []
    numbers = itertools.count()
    while True:
        wait = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        ready, _, _ = select.select([sys.stdin, *sockets.values()], [], [], wait)
        if sys.stdin in ready:
            return
        for where, sock in sockets.items():
            if sock in ready and len(waiting) < MOST_WAITING:
                data, sender = sock.recvfrom(2048)
                request = json.loads(data)
                answer = json.dumps({"id": request["id"], "seen": sender[:2]}).encode()
                due_at = time.monotonic() + request.get("after", 0)
                who = tuple(request.get("from", where))
                heapq.heappush(waiting, (due_at, next(numbers), who, answer, sender))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, who, answer, sender = heapq.heappop(waiting)
            sockets[who].sendto(answer, sender)


def main() -> None:
    with contextlib.suppress(PermissionError):  # what it measures is the network, not the machine
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    addresses, ports = sys.argv[1:3], [int(port) for port in sys.argv[3:5]]
    sockets = open_sockets(addresses, ports)
    print("ready", flush=True)
    serve(sockets)


if __name__ == "__main__":
    main()
