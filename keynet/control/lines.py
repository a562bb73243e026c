"""Lines of a local connection, and what follows them."""

from __future__ import annotations

from keynet.control.protocol import MAX_LINE
from keynet.errors import RemoteProtocolError
from keynet.rpc.proxy.tcp import TcpEnd


class Lines:
    """Reads one line after another; `rest` is what came behind the last one."""

    def __init__(self, end: TcpEnd) -> None:
        self._end = end
        self._held = bytearray()

    async def next(self) -> bytes:
        """The next line with its newline, or b"" at the end; a line cut short is dropped.

        Raises RemoteProtocolError for one of more than MAX_LINE bytes. Cancellable.
        """
        searched = 0
        while (found := self._held.find(b"\n", searched)) < 0:
            searched = len(self._held)
            if searched > MAX_LINE:
                raise RemoteProtocolError("the request is too long")
            data = await self._end.receive()
            if not data:
                return b""
            self._held += data
        line = bytes(self._held[: found + 1])
        del self._held[: found + 1]
        return line

    def rest(self) -> bytes:
        """What was read already behind the lines; it is no longer here then."""
        rest = bytes(self._held)
        self._held.clear()
        return rest
