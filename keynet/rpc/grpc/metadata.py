"""Metadata of calls as gRPC carries it, both ways. Nothing here knows grpcio.

What metadata may be is in `keynet.rpc.metadata`; here is only what gRPC mixes into it for itself,
and what a foreign peer may send beyond it: neither is shown to handlers and callers.
"""

from __future__ import annotations

from collections.abc import Iterable

from keynet.rpc.api import MAX_METADATA, Metadata
from keynet.rpc.method import Kind

DETAILS = "grpc-status-details-bin"
"""The trailer with the details of a status, as in every gRPC implementation."""

KIND = "keynet-kind"
"""The header with what a caller of a service definition takes the method for, since all kinds are
alike on the wire. Others need not send it."""

_OWN = ("grpc-", "keynet-")
"""How headers begin that are not the application's."""

MAX_HEADERS = 3 * MAX_METADATA
"""Bytes of headers or trailers: metadata, a status's text and details, and gRPC's own."""

Wire = tuple[tuple[str, str | bytes], ...]


def outgoing(metadata: Iterable[tuple[str, str]], details: bytes = b"") -> Wire:
    """What grpcio is to send: `metadata`, and a status's `details`."""
    own: Wire = ((DETAILS, details),) if details else ()
    return (*metadata, *own)


def incoming(received: Iterable[tuple[str, str | bytes]] | None) -> Metadata:
    """What the other side's application sent as text."""
    return tuple(
        (key, value)
        for key, value in received or ()
        if isinstance(value, str) and key != "user-agent" and not key.startswith(_OWN)
    )


def kind_of(received: Iterable[tuple[str, str | bytes]] | None) -> Kind | None:
    """What the caller says that the method is; None when it says nothing that is known."""
    found = (value for key, value in received or () if key == KIND)
    return next((kind for value in found for kind in Kind if kind.value == value), None)


def details_of(received: Iterable[tuple[str, str | bytes]] | None) -> bytes:
    """The details of a status in its trailers; b"" when there are none."""
    found = (value for key, value in received or () if key == DETAILS)
    return next((value for value in found if isinstance(value, bytes)), b"")
