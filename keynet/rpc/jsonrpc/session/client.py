"""The calling end of one stream: calls under way, their credit, and what the server says of them.

Remote bytes never raise, and never make it hold more than its settings allow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Raw

from keynet.errors import ConfigError, RpcError
from keynet.rpc.api import Metadata
from keynet.rpc.jsonrpc import envelope
from keynet.rpc.jsonrpc.codec import UNREADABLE, decoder, encode, encode_message, too_large
from keynet.rpc.jsonrpc.credit import Budget, ReceiveWindow, SendCredit
from keynet.rpc.jsonrpc.envelope import FromServer
from keynet.rpc.jsonrpc.lines import LineSplitter
from keynet.rpc.jsonrpc.session.events import (
    CallAnswered,
    ClientEvent,
    CreditArrived,
    ItemArrived,
    SessionBroken,
)
from keynet.rpc.jsonrpc.session.output import Output
from keynet.rpc.jsonrpc.session.settings import Settings
from keynet.rpc.metadata import checked
from keynet.rpc.method import Kind
from keynet.rpc.status import Status, rpc_error

Events = list[ClientEvent]


class MadeCall:
    """One call that this side made. Made by the session; the shell holds on to it."""

    __slots__ = ("credit", "id", "items_ended", "kind", "metadata", "over", "window")

    def __init__(self, id: int, kind: Kind, window: ReceiveWindow) -> None:
        self.id = id
        self.kind = kind
        self.window = window
        self.credit = SendCredit()
        self.metadata: Metadata = ()
        """What the server sent along, once it has answered."""
        self.items_ended = not kind.client_streams
        self.over = False


class ClientSession:
    """Make calls, write `output`, feed it with `receive`, act on the events."""

    def __init__(self, settings: Settings) -> None:
        self.output = Output()
        self.broken = False
        """Nothing is read any more."""
        self.budget = Budget(settings.budget)
        self._settings = settings
        self._lines = LineSplitter(settings.max_line)
        self._calls: dict[int, MadeCall] = {}
        self._last_id = 0
        self._notices: dict[str, Callable[[Raw, int, Events], None]] = {
            envelope.ITEM: self._item_came,
            envelope.CREDIT: self._credit_came,
            envelope.METADATA: self._metadata_came,
        }

    @property
    def calls(self) -> int:
        """Calls under way."""
        return len(self._calls)

    # What the shell says.

    def call(
        self, method: str, params: Any, kind: Kind, timeout: float | None, metadata: Metadata
    ) -> MadeCall:
        """Begin a call. `timeout` is in seconds; `params` a struct or a dict.

        Raises RpcError: INTERNAL when `params` cannot be written, RESOURCE_EXHAUSTED for their
        size.
        """
        id = self._last_id + 1
        window = ReceiveWindow(self.budget, self._settings.window)
        credit = window.open_wide() if kind.server_streams else None
        request = envelope.call(id, method, params, kind, timeout, metadata, credit)
        try:
            line = encode_message(request, params, self._settings.max_message_size)
        except RpcError:
            window.release()
            raise
        call = MadeCall(id, kind, window)
        self._last_id = id
        self._calls[id] = call
        self.output.add(line)
        return call

    def item(self, call: MadeCall, item: Any) -> None:
        """Send an item of the call's stream; wait for `call.credit.open` before.

        Does nothing when no more items are taken. Raises RpcError as `call` does.
        """
        if call.over or call.items_ended:
            return
        message = envelope.notification(envelope.ITEM, id=call.id, item=item)
        line = encode_message(message, item, self._settings.max_message_size)
        call.credit.spend(self.output.add(line))

    def end_items(self, call: MadeCall) -> None:
        """No more items. Idempotent."""
        if not call.over and not call.items_ended:
            call.items_ended = True
            self.output.add(encode(envelope.notification(envelope.END, id=call.id)))

    def cancel(self, call: MadeCall) -> None:
        """Tell the server to stop, and forget the call. Idempotent; harmless after the end."""
        if not call.over:
            self.output.add(encode(envelope.notification(envelope.CANCEL, id=call.id)))
            self._finish(call)
        call.window.release()

    def taken(self, call: MadeCall, size: int) -> None:
        """The application took an item of `size` bytes of credit."""
        credit = call.window.take(size)
        if credit and not call.over:
            message = envelope.notification(envelope.CREDIT, id=call.id, credit=credit)
            self.output.add(encode(message))

    def close(self) -> list[MadeCall]:
        """The stream is gone: hold nothing, say nothing. Gives the calls that were under way."""
        self.broken = True
        self.output.close()
        left = list(self._calls.values())
        for call in left:
            self._finish(call)
        return left

    # The peer's bytes.

    def receive(self, data: bytes) -> Events:
        """Take bytes that arrived. Never raises for what they are."""
        events: Events = []
        for line in self._lines.feed(data):
            if self.broken:
                return events
            if line and not line.isspace():
                self._line_came(line, events)
        if self._lines.overflowed and not self.broken:
            text = f"the peer sent a line of more than {self._lines.limit} bytes"
            self._break(rpc_error(Status.RESOURCE_EXHAUSTED, text), events)
        return events

    def _line_came(self, line: bytes, events: Events) -> None:
        message = envelope.read_from_server(line)
        if isinstance(message, str):
            text = f"the peer sent what is no JSON-RPC: {message}"
            self._break(rpc_error(Status.INTERNAL, text), events)
        elif isinstance(message.method, str):
            self._notice_came(message.method, message.params, len(line) + 1, events)
        else:
            self._response_came(message, events)

    def _response_came(self, message: FromServer, events: Events) -> None:
        outcome = envelope.answer_of(message)
        if message.id is None and isinstance(outcome, RpcError):
            self._break(outcome, events)  # the peer could not read something of this side
            return
        call = self._call_of(message.id)
        if call is None:
            return
        if isinstance(outcome, Raw):
            outcome = self._checked_result(call, outcome)
        self._finish(call)
        events.append(CallAnswered(call, outcome))

    def _checked_result(self, call: MadeCall, result: Raw) -> Raw | RpcError:
        size = len(memoryview(result))
        if size > self._settings.max_message_size:
            return too_large(size, self._settings.max_message_size)
        if call.kind.server_streams and bytes(result) != b"null":
            return rpc_error(Status.INTERNAL, "the peer gave a result where a stream was to end")
        return result

    def _call_of(self, id: object) -> MadeCall | None:
        """The call that the peer means: None for one that is over, or was never made."""
        return self._calls.get(id) if type(id) is int else None

    # Notifications.

    def _notice_came(self, method: str, params: Raw, size: int, events: Events) -> None:
        """Others than the known ones mean nothing to a client, and rpc.error has no call."""
        notice = self._notices.get(method)
        if notice is None:
            return
        try:
            notice(params, size, events)
        except UNREADABLE as error:
            text = f"the peer sent a wrong {method}: {error}"
            self._break(rpc_error(Status.INTERNAL, text), events)

    def _item_came(self, params: Raw, size: int, events: Events) -> None:
        told: envelope.ItemParams = decoder(envelope.ItemParams).decode(params)
        call = self._call_of(told.id)
        if call is None:
            return
        fault = self._fault_of_item(call, told.item, size)
        if fault is None:
            events.append(ItemArrived(call, told.item, size))
        else:
            self.cancel(call)
            events.append(CallAnswered(call, fault))

    def _fault_of_item(self, call: MadeCall, item: Raw, size: int) -> RpcError | None:
        if not call.kind.server_streams:
            return rpc_error(Status.INTERNAL, "the peer streams what was to be one result")
        length = len(memoryview(item))
        if length > self._settings.max_message_size:
            return too_large(length, self._settings.max_message_size)
        return call.window.arrive(size)

    def _credit_came(self, params: Raw, size: int, events: Events) -> None:
        told: envelope.CreditParams = decoder(envelope.CreditParams).decode(params)
        call = self._call_of(told.id)
        if call is not None:
            call.credit.grant(told.credit)
            events.append(CreditArrived(call))

    def _metadata_came(self, params: Raw, size: int, events: Events) -> None:
        told: envelope.MetadataParams = decoder(envelope.MetadataParams).decode(params)
        call = self._call_of(told.id)
        if call is None:
            return
        try:
            call.metadata = checked(told.metadata)
        except ConfigError as error:
            raise ValueError(str(error)) from error  # as any other parameter that is wrong

    # Beneath.

    def _finish(self, call: MadeCall) -> None:
        """The call is over; items that wait stay, to be taken or released."""
        call.over = True
        call.window.close()
        del self._calls[call.id]

    def _break(self, error: RpcError, events: Events) -> None:
        self.broken = True
        events.append(SessionBroken(error))
