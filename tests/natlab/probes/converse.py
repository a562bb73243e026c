"""A byte stream through a forward proxy that does what it is told, a line at a time.

Usage: python -m tests.natlab.probes.converse PROXY TOKEN AUTHORITY, with something at AUTHORITY
that gives back what it gets. It answers each line with a JSON object, and says first what `status`
the CONNECT had.

    say BYTES       sends so many at once, and waits until they are back
    flow SECONDS    sends a block every PACE seconds for so long, saying `{"flowing": true}` when
                    the first is back; in the end, the `longest_pause` between two that came back
    end             waits until the stream ends from outside: whether it was `reset`

What did not come back as it was sent is not `intact`; what broke is told as `error`.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import socket
import sys
import time
from typing import Any

from tests.natlab.probes.connect import opened

PATIENCE = 60.0
PACE = 0.05
BLOCK = 8192


def say(stream: socket.socket, size: int) -> dict[str, Any]:
    data, back, began_at = os.urandom(size), b"", time.monotonic()
    stream.sendall(data)
    while len(back) < size and (part := stream.recv(65536)):
        back += part
    return {"intact": back == data, "seconds": time.monotonic() - began_at}


def flow(stream: socket.socket, seconds: float) -> dict[str, Any]:
    sent, back, sent_bytes, back_bytes = hashlib.sha256(), hashlib.sha256(), 0, 0
    longest_pause, heard_at = 0.0, time.monotonic()
    end, next_at = heard_at + seconds, heard_at
    while (now := time.monotonic()) < end or back_bytes < sent_bytes:
        if now < end and now >= next_at and select.select([], [stream], [], 0)[1]:
            data, next_at = os.urandom(BLOCK), now + PACE
            stream.sendall(data)
            sent.update(data)
            sent_bytes += len(data)
        if not select.select([stream], [], [], PACE)[0]:
            if now - heard_at > PATIENCE:
                break
            continue
        data = stream.recv(65536)
        if not data:
            break
        if not back_bytes:
            print(json.dumps({"flowing": True}), flush=True)
        back.update(data)
        back_bytes += len(data)
        longest_pause, heard_at = max(longest_pause, now - heard_at), now
    intact = sent.digest() == back.digest()
    return {"intact": intact, "bytes": back_bytes, "longest_pause": longest_pause}


def end(stream: socket.socket) -> dict[str, Any]:
    began_at, reset = time.monotonic(), False
    try:
        stream.recv(1)
    except ConnectionResetError:
        reset = True
    return {"reset": reset, "seconds": time.monotonic() - began_at}


def obeyed(stream: socket.socket, order: str) -> dict[str, Any]:
    verb, _, argument = order.strip().partition(" ")
    try:
        if verb == "end":
            return end(stream)
        return say(stream, int(argument)) if verb == "say" else flow(stream, float(argument))
    except OSError as error:
        return {"intact": False, "error": str(error)}


def main() -> None:
    (host, _, port), token, authority = sys.argv[1].rpartition(":"), sys.argv[2], sys.argv[3]
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as stream:
        status, _ = opened(stream, token, authority)
        print(json.dumps({"status": status}), flush=True)
        for order in sys.stdin if status == 200 else ():
            print(json.dumps(obeyed(stream, order)), flush=True)


if __name__ == "__main__":
    main()
