"""A TCP server that gives back what it gets. Knows nothing of keynet.

Usage: echo.py ADDRESS PORT. It says "ready", and ends when its input does.
"""

from __future__ import annotations

import contextlib
import socketserver
import sys
import threading


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # whoever breaks off has a right to
            while data := self.request.recv(65536):
                self.request.sendall(data)


def main() -> None:
    with socketserver.ThreadingTCPServer((sys.argv[1], int(sys.argv[2])), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print("ready", flush=True)
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    main()
