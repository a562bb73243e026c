"""Asks a reflector for answers after some time. Knows nothing of keynet.

Usage: later.py ADDRESS PORT SECONDS... . Each wait has a socket of its own that sends once. It
says "asked", and in the end prints a JSON list: for each wait, whether the answer came.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

GRACE = 0.4


def main() -> None:
    address, port, waits = sys.argv[1], int(sys.argv[2]), [float(wait) for wait in sys.argv[3:]]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sockets = [socket.socket(family, socket.SOCK_DGRAM) for _ in waits]
    for wait, sock in zip(waits, sockets, strict=True):
        sock.sendto(json.dumps({"id": 1, "after": wait}).encode(), (address, port))
    print("asked", flush=True)
    time.sleep(max(waits) + GRACE)
    came, _, _ = select.select(sockets, [], [], 0)
    print(json.dumps([sock in came for sock in sockets]))


if __name__ == "__main__":
    main()
