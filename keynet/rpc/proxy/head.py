"""CONNECT heads, as bytes: reading a client's, building the one for the peer, reading its answer.

Sans-IO, on h11. What a head's target means is in `target.py`, which status an error gets in
`status.py`. Nothing here raises anything but BadHead, whatever the bytes are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus

import h11

from keynet.engine import Buffer
from keynet.errors import RemoteProtocolError

MAX_HEAD = 16384
"""Bytes that a request's or an answer's head may have."""

MAX_REASON = 300
"""Characters of an error's text that are sent to anybody."""

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
"""No Content-Length: what follows a 2xx answer to CONNECT is the tunnel (RFC 9110, 9.3.6)."""

_EXTRA_FIELDS = {
    405: "Allow: CONNECT\r\n",
    407: (
        'Proxy-Authenticate: Basic realm="keynet", charset="UTF-8"\r\n'
        'Proxy-Authenticate: Bearer realm="keynet"\r\n'
    ),
}

_PHRASES = {503: "No Path", 526: "Invalid Certificate Chain"}
"""Where HTTP's own phrase is missing or says less."""

_QUOTED = re.compile(r":? (?:bytearray\()?b['\"]")
"""Where h11's messages begin to quote what came, as Python writes it."""


class BadHead(RemoteProtocolError):
    """A head that is not served; `status` is what to answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class ConnectHead:
    """A well-formed CONNECT."""

    target: str
    """What stands after CONNECT, as it came."""
    credentials: tuple[bytes, ...]
    """The values of Proxy-Authorization. Never to be logged."""
    early: bytes
    """What came behind the head already."""

    def __repr__(self) -> str:
        return f"ConnectHead({self.target!r}, {len(self.early)} early bytes)"


@dataclass(frozen=True, slots=True)
class Answer:
    """The peer's answer to CONNECT."""

    status: int
    reason: str
    """The reason phrase, which carries the peer's explanation."""
    early: bytes
    """What came behind the head already."""


class _Reader:
    """Feeds h11 within MAX_HEAD, and turns its errors into BadHead."""

    def __init__(self, role: type[h11.CLIENT] | type[h11.SERVER]) -> None:
        self._h11 = h11.Connection(role, max_incomplete_event_size=MAX_HEAD)
        self._fed = 0

    def _next(self, data: Buffer) -> h11.Event | None:
        """The head's event once it is complete, else None."""
        self._fed += len(data)
        try:
            if data:  # to h11, no bytes are the end of the stream
                self._h11.receive_data(bytes(data))
            event = self._h11.next_event()
        except h11.RemoteProtocolError as error:
            self._check_size()  # first: how large it is says more than what else is wrong
            why = _QUOTED.split(str(error))[0]
            raise BadHead(error.error_status_hint, f"malformed head: {why}") from error
        if event is h11.NEED_DATA:
            return None
        self._check_size()
        assert isinstance(event, h11.Event)
        return event

    def _check_size(self) -> None:
        if self._fed - len(self._early()) > MAX_HEAD:
            raise BadHead(431, f"the head has more than {MAX_HEAD} bytes")

    def _early(self) -> bytes:
        return self._h11.trailing_data[0]


class RequestReader(_Reader):
    """Reads a client's CONNECT: `feed` until it gives the head. Then of no more use."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER)

    def feed(self, data: Buffer) -> ConnectHead | None:
        """Take bytes; the head once it is complete, else None.

        Raises BadHead with status 400, 405 (not CONNECT) or 431 (more than MAX_HEAD bytes).
        """
        event = self._next(data)
        if event is None:
            return None
        if not isinstance(event, h11.Request):
            raise BadHead(400, "malformed head: no request")
        if event.method != b"CONNECT":
            raise BadHead(405, "this is a proxy for CONNECT only (curl needs --proxytunnel)")
        names = {name for name, _ in event.headers}
        if b"transfer-encoding" in names or _content_length(event):
            raise BadHead(400, "CONNECT has no body (RFC 9110 section 9.3.6)")
        credentials = tuple(v for name, v in event.headers if name == b"proxy-authorization")
        return ConnectHead(event.target.decode("latin-1"), credentials, self._early())


class AnswerReader(_Reader):
    """Asks a proxy, as a rule the peer's: send `request`, then `feed` until it gives the answer."""

    def __init__(self, authority: str, credentials: str | None = None) -> None:
        super().__init__(h11.CLIENT)
        fields = [("Host", authority)]
        if credentials is not None:
            fields.append(("Proxy-Authorization", credentials))
        head = h11.Request(method="CONNECT", target=authority, headers=fields)
        self.request: bytes = self._h11.send(head) or b""
        """The whole head: nothing of the client's own goes to the peer."""

    def feed(self, data: Buffer) -> Answer | None:
        """Take bytes; the answer once it is complete, else None. Raises BadHead (502)."""
        try:
            event = self._next(data)
            while isinstance(event, h11.InformationalResponse):
                event = self._next(b"")
        except BadHead as error:
            raise BadHead(502, f"the peer's proxy answered with a {error}") from error
        if event is None:
            return None
        if not isinstance(event, h11.Response):
            raise BadHead(502, "the peer's proxy broke off before it answered")
        return Answer(event.status_code, _one_line(event.reason.decode("latin-1")), self._early())


def _content_length(request: h11.Request) -> bool:
    return any(n == b"content-length" and v.strip(b"0") for n, v in request.headers)


def _one_line(text: str) -> str:
    """What of `text` may stand in a head, a log line or a terminal: printable ASCII, not long."""
    return "".join(c if " " <= c <= "~" else "?" for c in text[:MAX_REASON])


def refusal(status: int, reason: str) -> bytes:
    """A whole error answer for a client: the text in the body, as people see it with curl."""
    phrase = _PHRASES.get(status) or HTTPStatus(status).phrase
    body = f"keynet: {_one_line(reason)}\n".encode("ascii")
    head = (
        f"HTTP/1.1 {status} {phrase}\r\n"
        f"{_EXTRA_FIELDS.get(status, '')}"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


def brief_refusal(status: int, reason: str) -> bytes:
    """A whole error answer for the peer's proxy, without a body: the text is the reason."""
    status_line = f"HTTP/1.1 {status} {_one_line(reason)}\r\n"
    return f"{status_line}Content-Length: 0\r\nConnection: close\r\n\r\n".encode("ascii")
