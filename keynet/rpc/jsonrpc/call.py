"""One call that this side made, as its caller holds it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from keynet.errors import RpcError
from keynet.rpc.api import Metadata
from keynet.rpc.jsonrpc.codec import decode_result
from keynet.rpc.jsonrpc.session.client import MadeCall
from keynet.rpc.jsonrpc.waiting import Gate, Inbox
from keynet.rpc.method import Method
from keynet.rpc.status import Status, rpc_error

if TYPE_CHECKING:
    from keynet.rpc.jsonrpc.caller import Caller


class Call:
    """The `keynet.rpc.api.ClientCall` of this binding. One task sends, one receives."""

    __slots__ = ("_call", "_caller", "_gate", "_inbox", "_method", "_outcome", "_over")

    def __init__(self, caller: Caller, call: MadeCall, method: Method[..., Any]) -> None:
        self._caller = caller
        self._call = call
        self._method = method
        self._gate = Gate(call.credit) if method.kind.client_streams else None
        self._inbox = Inbox(self._taken) if method.kind.server_streams else None
        self._over = asyncio.Event()
        self._outcome: Raw | RpcError | None = None

    @property
    def reply_metadata(self) -> Metadata:
        """What came with the end of the call; empty before."""
        return self._call.metadata if self._outcome is not None else ()

    async def send(self, item: Any) -> None:
        """Stream one item; see `ClientCall.send`. Raises RpcError for one that cannot be sent."""
        if self._gate is not None:
            await self._gate.passed()
        await self._caller.item(self._call, item, self._over)

    async def finish_sending(self) -> None:
        """No more items. Idempotent."""
        self._caller.end_items(self._call)

    async def receive(self) -> Any:
        """The server's next item; see `ClientCall.receive`."""
        if self._inbox is None:
            raise StopAsyncIteration
        return self._decoded(await self._inbox.get())

    async def result(self) -> Any:
        """The result. Raises RpcError. Cancellable."""
        await self._over.wait()
        if isinstance(self._outcome, RpcError):
            raise self._outcome.with_traceback(None)
        assert self._outcome is not None
        return decode_result(self._method, self._outcome)

    def cancel(self) -> None:
        """Tell the peer to stop, and end with CANCELLED; see `ClientCall.cancel`."""
        self._caller.cancel(self._call)
        if self._inbox is not None:
            self._inbox.clear()
        if self._outcome is None:
            self.ended(rpc_error(Status.CANCELLED, "the call was cancelled on this side"))

    # What the session tells.

    def item_arrived(self, item: Raw, size: int) -> None:
        if self._inbox is not None:
            self._inbox.put(item, size)

    def credit_arrived(self) -> None:
        if self._gate is not None:
            self._gate.credit_came()

    def ended(self, outcome: Raw | RpcError) -> None:
        """Only the first end counts."""
        if self._outcome is not None:
            return
        self._outcome = outcome
        self._over.set()
        if self._gate is not None:
            self._gate.lift()
        if self._inbox is not None:
            self._inbox.end(outcome if isinstance(outcome, RpcError) else None)

    def _taken(self, size: int) -> None:
        self._caller.taken(self._call, size)

    def _decoded(self, item: Raw) -> Any:
        try:
            return decode_result(self._method, item)
        except RpcError:
            self.cancel()
            raise
