"""Where programs of this machine connect to: listening TCP and Unix sockets.

What is said on the connections is the caller's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import stat
from collections.abc import Callable

from keynet.address import Authority
from keynet.config.values import LocalAddress, UnixPath
from keynet.errors import ConfigError
from keynet.rpc.proxy.tcp import TcpEnd

_BACKLOG = 512
_OURS_ALONE = 0o600


class Listener:
    """A listening socket; `address` is what it really listens on. Made by `listen`."""

    def __init__(self, server: asyncio.Server, address: LocalAddress, inode: int | None) -> None:
        self._server = server
        self._inode = inode
        self.address = address

    async def aclose(self) -> None:
        """Listen no more, and remove the Unix socket's file. Idempotent."""
        self._server.close()
        if isinstance(self.address, UnixPath) and self._inode is not None:
            _unlink_own(self.address.path, self._inode)
            self._inode = None

    async def wait_closed(self) -> None:
        """Wait until the accepted connections are closed, too."""
        await self._server.wait_closed()


async def listen(address: LocalAddress, factory: Callable[[], TcpEnd]) -> Listener:
    """Listen on `address` (port 0: a free one). Raises ConfigError when that cannot be."""
    try:
        if isinstance(address, UnixPath):
            return await _listen_unix(address, factory)
        return await _listen_tcp(address, factory)
    except OSError as error:
        raise ConfigError(f"cannot listen on {address}: {error.strerror or error}") from error


async def _listen_tcp(address: Authority, factory: Callable[[], TcpEnd]) -> Listener:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        factory, address.host, address.port, backlog=_BACKLOG, start_serving=False
    )
    port = server.sockets[0].getsockname()[1]
    if any(sock.getsockname()[1] != port for sock in server.sockets):
        server.close()  # a name with several addresses, each of which got a free port of its own
        server = await loop.create_server(
            factory, address.host, port, backlog=_BACKLOG, start_serving=False
        )
    await _start(server)
    return Listener(server, Authority(address.host, port), None)


async def _listen_unix(address: UnixPath, factory: Callable[[], TcpEnd]) -> Listener:
    if not hasattr(socket, "AF_UNIX"):
        raise ConfigError("this system has no Unix sockets: give HOST:PORT")
    sock, inode = _bind_unix(address.path)
    try:
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(
            factory, sock=sock, backlog=_BACKLOG, start_serving=False
        )
        await _start(server)
    except BaseException:
        sock.close()
        _unlink_own(address.path, inode)
        raise
    return Listener(server, address, inode)


async def _start(server: asyncio.Server) -> None:
    """Accept connections. Cancelled in the middle, it leaves nothing that the loop still polls:
    asyncio's own `create_server` would, and the next socket of that number accepts nobody."""
    try:
        await server.start_serving()
    except BaseException:
        server.close()
        raise


def _bind_unix(path: str) -> tuple[socket.socket, int]:
    """Bind beside `path`, and move into place what has its mode and listens already.

    So nobody connects before the mode is set, and a stale file is replaced in one step.
    """
    _check_replaceable(path)
    beside = os.path.join(os.path.dirname(path), f".{secrets.token_hex(4)}")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(beside)
        try:
            os.chmod(beside, _OURS_ALONE)
            sock.listen(_BACKLOG)
            inode = os.stat(beside).st_ino
            os.rename(beside, path)
        except BaseException:
            os.unlink(beside)
            raise
    except BaseException:
        sock.close()
        raise
    return sock, inode


def _check_replaceable(path: str) -> None:
    """Raise ConfigError when something that is not a stale socket is in the way."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"{path} exists and is not a socket: remove it, or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:  # its backlog is full: somebody listens
            pass
        except OSError:
            return
    raise ConfigError(f"{path} is in use by a running program")


def _unlink_own(path: str, inode: int) -> None:
    with contextlib.suppress(OSError):  # somebody else may have removed it, or its directory
        if os.lstat(path).st_ino == inode:
            os.unlink(path)
