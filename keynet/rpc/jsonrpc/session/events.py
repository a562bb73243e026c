"""What sessions tell their shells. Named in the past tense; `call` is the session's own object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Raw

from keynet.errors import RpcError
from keynet.rpc.api import Metadata
from keynet.rpc.method import Kind

if TYPE_CHECKING:
    from keynet.rpc.jsonrpc.session.client import MadeCall
    from keynet.rpc.jsonrpc.session.server import ServedCall

CallT = TypeVar("CallT")


@dataclass(frozen=True, slots=True)
class CallArrived:
    """The peer calls a method."""

    call: ServedCall
    method: str
    """As the peer wrote it."""
    params: Raw
    """A JSON object or array."""
    kind: Kind | None
    """What the peer takes the method for; None when it did not say."""
    timeout: float | None
    """Seconds."""
    metadata: Metadata
    """Not checked yet."""


@dataclass(frozen=True, slots=True)
class ItemArrived(Generic[CallT]):
    """The next item of a stream. Tell the session with `taken` when it was used."""

    call: CallT
    item: Raw
    size: int
    """What it counts for, in bytes of credit."""


@dataclass(frozen=True, slots=True)
class CreditArrived(Generic[CallT]):
    """The peer has room for more items."""

    call: CallT


@dataclass(frozen=True, slots=True)
class ItemsEnded:
    """The client sends no more items."""

    call: ServedCall


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A served call is over before it was answered by the shell: stop its work.

    The client cancelled it or broke the rules; it has its answer already.
    """

    call: ServedCall


@dataclass(frozen=True, slots=True)
class CallAnswered:
    """A call that was made is over; nothing more comes of it."""

    call: MadeCall
    outcome: Raw | RpcError
    """The result's JSON (`null` at the end of a stream), or why there is none."""


@dataclass(frozen=True, slots=True)
class SessionBroken:
    """The peer broke what the stream rests on. Write what waits, then drop the stream."""

    error: RpcError


ServerEvent = (
    CallArrived
    | ItemArrived["ServedCall"]
    | CreditArrived["ServedCall"]
    | ItemsEnded
    | CallEnded
    | SessionBroken
)
ClientEvent = CallAnswered | ItemArrived["MadeCall"] | CreditArrived["MadeCall"] | SessionBroken
