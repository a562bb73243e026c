"""The serving end of one stream: which calls are under way, and what may be said about them.

It reads requests and answers them as JSON-RPC 2.0 asks, alone or in batches, and keeps the credit
of streams. What a call does is its shell's matter. Remote bytes never raise, and never make it
hold more than its settings allow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from keynet.errors import RpcError
from keynet.rpc.api import Metadata
from keynet.rpc.jsonrpc import codes, envelope
from keynet.rpc.jsonrpc.codec import UNREADABLE, decoder, encode, encode_message, too_large
from keynet.rpc.jsonrpc.credit import INITIAL_CREDIT, Budget, ReceiveWindow, SendCredit
from keynet.rpc.jsonrpc.envelope import CallParams, Failure, Id, Invalid, Request, Success
from keynet.rpc.jsonrpc.lines import LineSplitter
from keynet.rpc.jsonrpc.session.batch import Batch
from keynet.rpc.jsonrpc.session.events import (
    CallArrived,
    CallEnded,
    CreditArrived,
    ItemArrived,
    ItemsEnded,
    ServerEvent,
    SessionBroken,
)
from keynet.rpc.jsonrpc.session.output import Output
from keynet.rpc.jsonrpc.session.settings import Settings
from keynet.rpc.status import SHUTTING_DOWN, Status, printable, rpc_error

Events = list[ServerEvent]

_NO_ROOM = rpc_error(
    Status.RESOURCE_EXHAUSTED, "the answers to this batch are too large together: ask one by one"
)


class ServedCall:
    """One call that a peer made. Made by the session; the shell holds on to it."""

    __slots__ = (
        "batch",
        "credit",
        "extended",
        "id",
        "items_ended",
        "over",
        "takes_items",
        "window",
    )

    def __init__(
        self,
        id: Id | UnsetType,
        batch: Batch | None,
        window: ReceiveWindow,
        options: CallParams | None,
    ) -> None:
        self.id = id
        """UNSET for a notification, which is run and not answered."""
        self.batch = batch
        self.window = window
        self.extended = options is not None
        """Called by `rpc.call`: the client understands notifications about it."""
        given = None if options is None else options.credit
        self.credit = SendCredit(INITIAL_CREDIT if given is None else given)
        self.takes_items = self.extended
        """Set it to False once the method is known to take none."""
        self.items_ended = False
        self.over = False

    @property
    def may_stream(self) -> bool:
        """Whether the client can be told of items, and can grant credit for them."""
        return self.extended and self.id is not UNSET


class ServerSession:
    """Feed it with `receive`, act on the events, write `output`."""

    def __init__(self, settings: Settings) -> None:
        self.output = Output()
        self.broken = False
        """Nothing is read any more."""
        self.closing = False
        """Set it to have calls refused that are not under way yet."""
        self.budget = Budget(settings.budget)
        self._settings = settings
        self._lines = LineSplitter(settings.max_line)
        self._calls: dict[Any, ServedCall] = {}
        self._notices: dict[str, Callable[[Raw, int, Events], None]] = {
            envelope.ITEM: self._item_came,
            envelope.END: self._end_came,
            envelope.CANCEL: self._cancel_came,
            envelope.CREDIT: self._credit_came,
        }

    @property
    def calls(self) -> int:
        """Calls under way."""
        return len(self._calls)

    # The peer's bytes.

    def receive(self, data: bytes) -> Events:
        """Take bytes that arrived. Never raises for what they are."""
        events: Events = []
        if self.broken:
            return events
        for line in self._lines.feed(data):
            if line and not line.isspace():
                self._line_came(line, events)
        if self._lines.overflowed:
            self._break(events)
        return events

    def _line_came(self, line: bytes, events: Events) -> None:
        message = envelope.read_requests(line)
        if not isinstance(message, list):
            self._message_came(message, len(line) + 1, None, events)
            return
        batch = Batch(self._settings.max_batch)
        for one in message:
            self._message_came(one, 0, batch, events)
        self._say(batch.end())

    def _message_came(
        self, message: Request | Invalid, size: int, batch: Batch | None, events: Events
    ) -> None:
        if isinstance(message, Invalid):
            self._refuse(message.error, message.id, batch)
        elif message.method == envelope.CALL:
            self._extended_call_came(message, batch, events)
        elif message.method.startswith(envelope.RESERVED):
            self._reserved_came(message, size, batch, events)
        else:
            self._call_came(message, message.method, message.params, None, batch, events)

    def _extended_call_came(self, message: Request, batch: Batch | None, events: Events) -> None:
        try:
            options: CallParams = decoder(CallParams).decode(message.params)
        except UNREADABLE as error:
            failure = rpc_error(Status.INVALID_ARGUMENT, f"parameters of rpc.call: {error}")
            self._refuse(codes.error_object(failure), message.id, batch)
            return
        self._call_came(message, options.method, options.params, options, batch, events)

    def _call_came(
        self,
        message: Request,
        method: str,
        params: Raw,
        options: CallParams | None,
        batch: Batch | None,
        events: Events,
    ) -> None:
        refusal = self._refusal(message.id, params)
        if refusal is not None:
            self._refuse(refusal, message.id, batch)
            return
        window = ReceiveWindow(self.budget, self._settings.window)
        call = ServedCall(message.id, batch, window, options)
        self._calls[_key(call)] = call
        if batch is not None and call.id is not UNSET:
            batch.expect()
        if options is None:
            events.append(CallArrived(call, method, params, None, None, ()))
        else:
            call.takes_items = options.kind is None or options.kind.client_streams
            kind, timeout, metadata = options.kind, options.timeout, options.metadata
            events.append(CallArrived(call, method, params, kind, timeout, metadata))

    def _refusal(self, id: Id | UnsetType, params: Raw) -> codes.ErrorObject | None:
        if id is not UNSET and id in self._calls:
            return codes.invalid_request("a call with this id is under way")
        if self.closing:
            return codes.error_object(rpc_error(Status.UNAVAILABLE, SHUTTING_DOWN))
        if len(self._calls) >= self._settings.max_calls:
            text = f"{len(self._calls)} calls are under way on this stream: wait for one to end"
            return codes.error_object(rpc_error(Status.RESOURCE_EXHAUSTED, text))
        size = len(memoryview(params))
        if size > self._settings.max_message_size:
            return codes.error_object(too_large(size, self._settings.max_message_size))
        return None

    # Notifications about calls.

    def _reserved_came(
        self, message: Request, size: int, batch: Batch | None, events: Events
    ) -> None:
        notice = self._notices.get(message.method)
        if message.id is not UNSET or notice is None:
            text = f"there is no method {printable(message.method[:80])} to ask for"
            error = codes.error_object(rpc_error(Status.UNIMPLEMENTED, text))
            if message.id is UNSET:
                self._complain(error)
            else:
                self._refuse(error, message.id, batch)
        elif batch is not None:
            self._complain(codes.invalid_request(f"{message.method} stands alone in its line"))
        else:
            try:
                notice(message.params, size, events)
            except UNREADABLE as error:
                text = f"parameters of {message.method}: {error}"
                self._complain(codes.error_object(rpc_error(Status.INVALID_ARGUMENT, text)))

    def _item_came(self, params: Raw, size: int, events: Events) -> None:
        told: envelope.ItemParams = decoder(envelope.ItemParams).decode(params)
        call = self._calls.get(told.id)
        if call is None:
            return
        fault = self._fault_of_item(call, told.item, size)
        if fault is None:
            events.append(ItemArrived(call, told.item, size))
        else:
            self._end_by(call, fault, events)

    def _fault_of_item(self, call: ServedCall, item: Raw, size: int) -> RpcError | None:
        if not call.takes_items or call.items_ended:
            return rpc_error(Status.INVALID_ARGUMENT, "an item came that the method does not take")
        length = len(memoryview(item))
        if length > self._settings.max_message_size:
            return too_large(length, self._settings.max_message_size)
        return call.window.arrive(size)

    def _end_came(self, params: Raw, size: int, events: Events) -> None:
        told: envelope.IdParams = decoder(envelope.IdParams).decode(params)
        call = self._calls.get(told.id)
        if call is not None and not call.items_ended:
            call.items_ended = True
            events.append(ItemsEnded(call))

    def _cancel_came(self, params: Raw, size: int, events: Events) -> None:
        told: envelope.IdParams = decoder(envelope.IdParams).decode(params)
        call = self._calls.get(told.id)
        if call is not None:
            self._end_by(call, rpc_error(Status.CANCELLED, "the caller cancelled"), events)

    def _credit_came(self, params: Raw, size: int, events: Events) -> None:
        told: envelope.CreditParams = decoder(envelope.CreditParams).decode(params)
        call = self._calls.get(told.id)
        if call is not None:
            call.credit.grant(told.credit)
            events.append(CreditArrived(call))

    # What the shell says.

    def item(self, call: ServedCall, item: Any) -> None:
        """Send an item of the call's stream; wait for `call.credit.open` before.

        Raises RpcError: INTERNAL when it cannot be written, RESOURCE_EXHAUSTED for its size.
        """
        if call.over or call.id is UNSET:
            return
        message = envelope.notification(envelope.ITEM, id=call.id, item=item)
        line = encode_message(message, item, self._settings.max_message_size)
        call.credit.spend(self.output.add(line))

    def taken(self, call: ServedCall, size: int) -> None:
        """The method took an item of `size` bytes of credit."""
        credit = call.window.take(size)
        if credit and not call.over and not call.items_ended:
            message = envelope.notification(envelope.CREDIT, id=call.id, credit=credit)
            self.output.add(encode(message))

    def reply(self, call: ServedCall, result: Any, metadata: Metadata = ()) -> None:
        """End the call with its result: None for a stream. Does nothing when it is over.

        Raises RpcError as `item` does; the call is not over then: `fail` it.
        """
        if call.over:
            return
        if call.id is UNSET:
            self._finish(call)
            return
        success = Success(result, call.id)
        text = encode_message(success, result, self._settings.max_message_size)
        self._answer(call, text, metadata)

    def fail(self, call: ServedCall, error: RpcError, metadata: Metadata = ()) -> None:
        """End the call with a failure. Does nothing when it is over."""
        if call.over:
            return
        if call.id is UNSET:
            self._finish(call)
            return
        text = encode(Failure(codes.error_object(error), call.id))
        self._answer(call, text, metadata)

    def close(self) -> None:
        """The stream is gone: hold nothing, say nothing. Idempotent."""
        self.broken = True
        self.output.close()
        for call in list(self._calls.values()):
            self._finish(call)

    # Beneath.

    def _answer(self, call: ServedCall, text: bytes, metadata: Metadata) -> None:
        if metadata and call.extended:
            told = envelope.notification(envelope.METADATA, id=call.id, metadata=metadata)
            self.output.add(encode(told))
        self._finish(call)
        if call.batch is None:
            self._say(text)
            return
        if not call.batch.fits(text):
            assert call.id is not UNSET, "a notification is not answered"
            text = encode(Failure(codes.error_object(_NO_ROOM), call.id))
        self._say(call.batch.answer(text, awaited=True))

    def _finish(self, call: ServedCall) -> None:
        call.over = True
        call.window.release()
        del self._calls[_key(call)]

    def _end_by(self, call: ServedCall, error: RpcError, events: Events) -> None:
        self.fail(call, error)
        events.append(CallEnded(call))

    def _refuse(self, error: codes.ErrorObject, id: Id | UnsetType, batch: Batch | None) -> None:
        """Answer what began no call; a notification gets no answer."""
        if id is UNSET:
            return
        text = encode(Failure(error, None if isinstance(id, UnsetType) else id))
        self._say(text if batch is None else batch.answer(text, awaited=False))

    def _complain(self, error: codes.ErrorObject) -> None:
        """Tell of a notification that means nothing."""
        params = msgspec.structs.asdict(error)
        self._say(encode(envelope.notification(envelope.ERROR, **params)))

    def _say(self, text: bytes | None) -> None:
        if text is not None:
            self.output.add(text)

    def _break(self, events: Events) -> None:
        self.broken = True
        text = f"a line was longer than {self._lines.limit} bytes"
        error = rpc_error(Status.RESOURCE_EXHAUSTED, text)
        fault = codes.ErrorObject(
            codes.PARSE_ERROR,
            "Parse error",
            codes.ErrorData(Status(error.status).name, reason=text),
        )
        self._refuse(fault, None, None)
        events.append(SessionBroken(error))


def _key(call: ServedCall) -> Any:
    return call if call.id is UNSET else call.id
