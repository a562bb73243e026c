"""The running node's side of the control socket: bounded, one task a client, verbs from a table."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from keynet.control import place
from keynet.control.protocol import MAX_LINE, VERSION, Answer, encode, fault_of, read_request
from keynet.errors import ConfigError, KeynetError, RemoteProtocolError

MAX_CLIENTS = 16
IDLE_TIMEOUT = 60.0
"""Seconds that a client may stay silent."""

Verb = Callable[[Mapping[str, Any]], Awaitable[Any]]
"""Takes a request's params, gives JSON types; a KeynetError that it raises goes to the client."""

log = logging.getLogger(__name__)


class ControlServer:
    """Serves `verbs` on the control socket of a state directory, whose lock the caller holds."""

    def __init__(self, state: Path, verbs: Mapping[str, Verb], *, tcp: bool = False) -> None:
        self._state = state
        self._verbs = dict(verbs)
        self._tcp = tcp
        self._token = ""
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; call `aclose` in the end. Raises OSError when the directory cannot be used."""
        sock, found = place.listen(self._state, tcp=self._tcp)
        self._token = found.token
        self._server = await asyncio.start_server(self._connected, sock=sock, limit=MAX_LINE)

    async def aclose(self) -> None:
        """Stop listening, end every client, remove the socket. Idempotent."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        place.remove(self._state)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._clients) >= MAX_CLIENTS or self._server is None:
            writer.close()
            return
        self._clients.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # the client left, slept, or the node closes: all end here
        finally:
            self._clients.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                line = await asyncio.wait_for(reader.readline(), IDLE_TIMEOUT)
            except ValueError:  # longer than MAX_LINE: there is no next line to find
                await self._send(writer, fault_of(RemoteProtocolError("the request is too long")))
                return
            if not line:
                return
            await self._send(writer, await self._answer(line))

    async def _send(self, writer: asyncio.StreamWriter, answer: Answer) -> None:
        writer.write(encode(answer))
        await asyncio.wait_for(writer.drain(), IDLE_TIMEOUT)

    async def _answer(self, line: bytes) -> Answer:
        try:
            request = read_request(line, self._token)
            if request.verb not in self._verbs:
                known = ", ".join(sorted(self._verbs))
                raise ConfigError(f"this node knows no {request.verb!r}; it knows {known}")
            return Answer(VERSION, ok=True, result=await self._verbs[request.verb](request.params))
        except KeynetError as error:
            return fault_of(error)
        except Exception:
            log.exception("a control request failed")
            return fault_of(KeynetError("the node failed to answer; its log says why"))
