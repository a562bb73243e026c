"""The running node's side of the control socket: bounded, one task a client, verbs from a table.

A verb may turn the connection into a tunnel; where that leads is the verb's affair.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keynet.control import place
from keynet.control.lines import Lines
from keynet.control.protocol import MAX_LINE, VERSION, Answer, encode, fault_of, read_request
from keynet.errors import ClosedByPeer, ConfigError, KeynetError, RemoteProtocolError
from keynet.rpc.api import ByteStream
from keynet.rpc.proxy.pipe import Traffic, pipe
from keynet.rpc.proxy.tcp import TcpEnd, receive_buffer

MAX_CLIENTS = 16
MAX_TUNNELS = 64
IDLE_TIMEOUT = 60.0
"""Seconds that a client may stay silent."""

Verb = Callable[[Mapping[str, Any]], Awaitable[Any]]
"""Takes a request's params, gives JSON types, or a Tunnel; a KeynetError that it raises goes to
the client."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """What a verb gives to be connected: its answer, and where the bytes after that lead."""

    result: Any
    stream: ByteStream


log = logging.getLogger(__name__)


class ControlServer:
    """Serves `verbs` on the control socket of a state directory, whose lock the caller holds."""

    def __init__(self, state: Path, verbs: Mapping[str, Verb], *, tcp: bool = False) -> None:
        self._state = state
        self._verbs = dict(verbs)
        self._tcp = tcp
        self._token = ""
        self._buffer = receive_buffer()
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._tunnels: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; call `aclose` in the end. Raises OSError when the directory cannot be used."""
        sock, found = place.listen(self._state, tcp=self._tcp)
        self._token = found.token
        loop = asyncio.get_running_loop()
        listen = loop.create_server if found.tcp is not None else loop.create_unix_server
        self._server = await listen(self._accepted, sock=sock)

    async def aclose(self) -> None:
        """Stop listening, end every client, remove the socket. Idempotent."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        tasks = self._clients | self._tunnels
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        place.remove(self._state)

    def _accepted(self) -> TcpEnd:
        return TcpEnd(self._buffer, self._connected, MAX_LINE)

    def _connected(self, end: TcpEnd) -> None:
        if len(self._clients) >= MAX_CLIENTS or self._server is None:
            end.close()
            return
        task = asyncio.ensure_future(self._serve(end))
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)
        task.add_done_callback(self._tunnels.discard)

    async def _serve(self, end: TcpEnd) -> None:
        try:
            await self._converse(end)
        except (ClosedByPeer, TimeoutError):
            pass  # the client left, or slept
        finally:
            end.close()

    async def _converse(self, end: TcpEnd) -> None:
        lines = Lines(end)
        while True:
            try:
                line = await asyncio.wait_for(lines.next(), IDLE_TIMEOUT)
            except RemoteProtocolError as error:  # too long: there is no next line to find
                await self._send(end, fault_of(error))
                return
            if not line:
                return
            answer, tunnel = await self._answer(line)
            try:
                await self._send(end, answer)
                if tunnel is not None:
                    await self._carry(end, lines.rest(), tunnel)
                    return
            finally:
                if tunnel is not None:
                    tunnel.stream.reset()  # harmless after a clean end

    async def _carry(self, end: TcpEnd, early: bytes, tunnel: Tunnel) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tunnels.add(task)
        self._clients.discard(task)
        await pipe(end, tunnel.stream, Traffic(), to_peer=early)

    async def _send(self, end: TcpEnd, answer: Answer) -> None:
        end.write(encode(answer))
        await asyncio.wait_for(end.drain(), IDLE_TIMEOUT)

    async def _answer(self, line: bytes) -> tuple[Answer, Tunnel | None]:
        try:
            request = read_request(line, self._token)
            if request.verb not in self._verbs:
                known = ", ".join(sorted(self._verbs))
                raise ConfigError(f"this node knows no {request.verb!r}; it knows {known}")
            result = await self._verbs[request.verb](request.params)
            if not isinstance(result, Tunnel):
                return Answer(VERSION, ok=True, result=result), None
            if len(self._tunnels) >= MAX_TUNNELS:
                result.stream.reset()
                raise KeynetError(f"this node carries {MAX_TUNNELS} commands' calls already")
            return Answer(VERSION, ok=True, result=result.result), result
        except KeynetError as error:
            return fault_of(error), None
        except Exception:
            log.exception("a control request failed")
            return fault_of(KeynetError("the node failed to answer; its log says why")), None
