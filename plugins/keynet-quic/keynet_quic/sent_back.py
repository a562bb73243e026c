"""The engine of a stranger who is not answered yet: it hands out a Retry, perhaps, and ends."""

from __future__ import annotations

from typing import NoReturn

from keynet.engine import Buffer, Datagrams
from keynet.errors import HandshakeFailed, LocallyClosed
from keynet.identity import Identity
from keynet.transport.api import ConnectionTerminated, StreamId, TransportEvent


class SentBack:
    """Satisfies `keynet.transport.api.TransportEngine`; nothing of the stranger is kept."""

    def __init__(self, retry: bytes | None) -> None:
        self._retry = retry
        self._last: ConnectionTerminated | None = ConnectionTerminated(
            HandshakeFailed("the dialer must show first that it receives what is sent to it")
        )
        self._said = False

    def receive(self, datagrams: Datagrams, now: float) -> None:
        """There is nothing to add."""

    def datagrams_to_send(self, now: float) -> list[Datagrams]:
        retry, self._retry = self._retry, None
        if retry is not None:
            return [Datagrams(retry)]
        self._said = True
        return []

    def next_deadline(self) -> float | None:
        return None

    def handle_deadline(self, now: float) -> None:
        """It waits for none."""

    def next_event(self) -> TransportEvent | None:
        if not self._said:
            return None
        last, self._last = self._last, None
        return last

    def path_changed(self, mtu: int, rtt: float | None, now: float) -> None:
        """It does not stay long enough."""

    def identity_changed(self, local: Identity, now: float) -> None:
        """Nobody was told the older one."""

    def open_stream(self, now: float) -> StreamId:
        self._refuse()

    def write(self, stream_id: StreamId, data: Buffer, now: float) -> int:
        self._refuse()

    def read(self, stream_id: StreamId, max_bytes: int, now: float) -> bytes:
        self._refuse()

    def write_eof(self, stream_id: StreamId, now: float) -> None:
        self._refuse()

    def reset(self, stream_id: StreamId, now: float) -> None:
        """There is no stream."""

    def close(self, now: float) -> None:
        self._retry = None
        if self._last is not None:
            self._last = ConnectionTerminated(None)

    def stats(self) -> dict[str, float | int | str]:
        return {}

    @staticmethod
    def _refuse() -> NoReturn:
        raise LocallyClosed("the connection is closed")
