"""Waits until something accepts a TCP connection. Knows nothing of keynet.

Usage: tcp.py ADDRESS PORT PATIENCE. Tries again until PATIENCE seconds have passed; prints a JSON
object with `connected`, and the `error` of the last attempt where it is false.
"""

from __future__ import annotations

import json
import socket
import sys
import time


def main() -> None:
    address, port, end = sys.argv[1], int(sys.argv[2]), time.monotonic() + float(sys.argv[3])
    error = "no time to try"
    while (left := end - time.monotonic()) > 0:
        try:
            socket.create_connection((address, port), timeout=left).close()
        except OSError as refused:
            error = str(refused)
            time.sleep(0.05)
        else:
            print(json.dumps({"connected": True}))
            return
    print(json.dumps({"connected": False, "error": error}))


if __name__ == "__main__":
    main()
