"""Sends a byte stream through a forward proxy and back, as any program that speaks HTTP CONNECT.

Usage: connect.py PROXY TOKEN AUTHORITY BYTES, with something at AUTHORITY that gives back what it
gets. It prints a JSON object: `status` of the CONNECT and what `headers` came with it; where it is
200, seconds from the begin until it was `connected`, until the `first_byte` came back, and until
it was `done`; and whether the bytes were `intact`.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import sys
import threading
import time
from typing import Any


def opened(proxy: socket.socket, token: str, authority: str) -> tuple[int, str]:
    """Status and header lines of the CONNECT; what comes after them stays in the socket."""
    credentials = base64.b64encode(f"keynet:{token}".encode()).decode()
    head = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n"
    proxy.sendall(f"{head}Proxy-Authorization: Basic {credentials}\r\n\r\n".encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n") and (byte := proxy.recv(1)):
        answer += byte
    status, _, headers = answer.decode().partition("\r\n")
    return int(status.split()[1]), headers.strip()


def exchanged(stream: socket.socket, size: int) -> tuple[float, bool]:
    """When the first byte came back, and whether all of them did, in their order."""
    data, back, first_at = os.urandom(size), bytearray(), 0.0

    def send() -> None:
        stream.sendall(data)
        stream.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    while part := stream.recv(65536):
        first_at = first_at or time.monotonic()
        back += part
    sender.join()
    return first_at, bytes(back) == data


def main() -> None:
    (host, _, port), token, authority = sys.argv[1].rpartition(":"), sys.argv[2], sys.argv[3]
    began_at = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=30) as proxy:
        status, headers = opened(proxy, token, authority)
        report: dict[str, Any] = {"status": status, "headers": headers}
        if status == 200:
            report["connected"] = time.monotonic() - began_at
            first_at, report["intact"] = exchanged(proxy, int(sys.argv[4]))
            report["first_byte"] = first_at - began_at
            report["done"] = time.monotonic() - began_at
    print(json.dumps(report))


if __name__ == "__main__":
    main()
