"""Kernel TCP on both sides of two nodes: what a program behind the proxies sees.

Blocking sockets, so that the cost shown is the nodes' own and not that of the programs: these
`async` methods never suspend, and the server gives each client a thread.
"""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Coroutine
from typing import Any

from benchmarks.stream import Address, ByteStream, Handler

READ = 65536


class _Stream:
    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock

    async def read(self) -> bytes:
        return self._socket.recv(READ)

    async def write(self, data: bytes) -> None:
        self._socket.sendall(data)

    async def close(self) -> None:
        self._socket.close()


class _Peer:
    async def serve(self, host: str, handler: Handler) -> Address:
        listener = socket.create_server((host, 0), backlog=256)
        threading.Thread(target=_accept, args=(listener, handler), daemon=True).start()
        return {"host": host, "port": listener.getsockname()[1]}

    async def dial(self, address: Address) -> ByteStream:
        sock = socket.create_connection((address["host"], address["port"]), timeout=30)
        if "target" in address:
            _connect(sock, address)
        return _Stream(sock)

    async def close(self) -> None:
        """Nothing is shared between its streams."""


def _accept(listener: socket.socket, handler: Handler) -> None:
    while True:
        sock, _ = listener.accept()
        work = handler(_Stream(sock))
        threading.Thread(target=_run, args=(work,), daemon=True).start()


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never suspends, without the time that an event loop takes to set up."""
    try:
        work.send(None)
    except (StopIteration, ConnectionError):
        return
    raise AssertionError("a blocking stream suspended")


def _connect(sock: socket.socket, address: Address) -> None:
    """Ask the forward proxy for the target; its answer is read to its empty line, not further."""
    credentials = base64.b64encode(f"keynet:{address['token']}".encode()).decode()
    head = (
        f"CONNECT {address['target']} HTTP/1.1\r\nHost: {address['target']}\r\n"
        f"Proxy-Authorization: Basic {credentials}\r\n\r\n"
    )
    sock.sendall(head.encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            break
        answer += byte
    if b" 200 " not in answer.partition(b"\r\n")[0]:
        raise ConnectionError(f"the proxy answered {answer!r}")


def make() -> _Peer:
    return _Peer()
