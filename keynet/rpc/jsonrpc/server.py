"""The serving side of the binding: every stream that peers open to it, and a graceful end."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from keynet.rpc.api import ByteStream, Dispatch, Network
from keynet.rpc.dispatch import GRACE
from keynet.rpc.jsonrpc.running import NAME
from keynet.rpc.jsonrpc.serving import ServedStream
from keynet.rpc.jsonrpc.session.settings import Settings


class Server:
    """Serves peers' calls until it is closed; see `keynet.rpc.api.Server`."""

    def __init__(self, network: Network, dispatch: Dispatch, settings: Settings) -> None:
        self._network = network
        self._dispatch = dispatch
        self._settings = replace(settings, max_message_size=dispatch.max_message_size)
        self._streams: set[ServedStream] = set()
        self._closed = False

    def open(self) -> None:
        """Begin to take streams."""
        self._network.serve_protocol(NAME, self.serve)

    async def serve(self, stream: ByteStream, first: bytes) -> None:
        """Serve one stream to its end; `first` was read of it already."""
        if self._closed:
            return
        served = ServedStream(stream, first, self._dispatch, self._settings)
        self._streams.add(served)
        try:
            await served.serve()
        finally:
            self._streams.discard(served)

    async def aclose(self, grace: float = GRACE) -> None:
        """Take no new call, give those that run `grace` seconds, then end them with UNAVAILABLE.

        Idempotent.
        """
        if self._closed:
            return
        self._closed = True
        self._network.serve_protocol(NAME, None)
        for stream in self._streams:
            stream.refuse_calls()
        await self._dispatch.drain(NAME, grace)
        await asyncio.gather(*(stream.end() for stream in self._streams))
