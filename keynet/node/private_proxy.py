"""A forward proxy for this process alone, for RPC libraries that make their own sockets.

A Unix socket in a directory that only this user may enter; where there are none, loopback with
a token that is never written down.
"""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from contextlib import AsyncExitStack

from keynet.address import Authority
from keynet.config.values import MAX_UNIX_PATH, LocalAddress, UnixPath
from keynet.errors import ConfigError, LocallyClosed
from keynet.node.token import new_token
from keynet.rpc.proxy.api import Dialer, ProxyAccess
from keynet.rpc.proxy.forward import ForwardProxy

MAX_CLIENTS = 4096

_LOOPBACK = Authority("127.0.0.1", 0)


class PrivateProxy:
    """Listens from the first `open` on."""

    def __init__(self, dialer: Dialer, deadline: float, *, unix: bool | None = None) -> None:
        """`deadline` is a whole CONNECT's, in seconds; `unix` None: where the system has them."""
        self._dialer = dialer
        self._deadline = deadline
        self._unix = hasattr(socket, "AF_UNIX") if unix is None else unix
        self._opening = asyncio.Lock()
        self._access: ProxyAccess | None = None
        self._stack = AsyncExitStack()
        self._closed = False

    async def open(self) -> ProxyAccess:
        """Where it listens, from now on. Raises ConfigError, or LocallyClosed after `aclose`."""
        async with self._opening:
            if self._closed:
                raise LocallyClosed("this node is closed")
            if self._access is None:
                self._access = await self._listen()
            return self._access

    async def aclose(self) -> None:
        """Break off what runs through it, and leave nothing behind. Idempotent."""
        async with self._opening:
            self._closed = True
            await self._stack.aclose()

    async def _listen(self) -> ProxyAccess:
        async with AsyncExitStack() as opened:
            place = self._place(opened)
            token = None if isinstance(place, UnixPath) else new_token()
            proxy = ForwardProxy(
                self._dialer, token=token, deadline=self._deadline, max_clients=MAX_CLIENTS
            )
            opened.push_async_callback(proxy.aclose)
            access = ProxyAccess(await proxy.listen(place), token)
            self._stack = opened.pop_all()
        return access

    def _place(self, opened: AsyncExitStack) -> LocalAddress:
        if not self._unix:
            return _LOOPBACK
        try:
            directory = tempfile.TemporaryDirectory(prefix="keynet-")  # of mode 0700
        except OSError as error:
            raise ConfigError(
                f"cannot make a temporary directory: {error.strerror}; name another by TMPDIR"
            ) from error
        path = os.path.join(opened.enter_context(directory), "proxy")
        return UnixPath(path) if len(os.fsencode(path)) <= MAX_UNIX_PATH else _LOOPBACK
