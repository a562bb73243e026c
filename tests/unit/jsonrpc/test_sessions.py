"""The two state machines by themselves: verbs and events, without a loop."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from keynet.errors import RpcError
from keynet.rpc.jsonrpc.session.client import ClientSession
from keynet.rpc.jsonrpc.session.events import CallAnswered, CallArrived, SessionBroken
from keynet.rpc.jsonrpc.session.server import ServedCall, ServerSession
from keynet.rpc.jsonrpc.session.settings import DEFAULT, Settings
from keynet.rpc.method import Kind
from keynet.rpc.status import Status, rpc_error
from tests.unit.jsonrpc.scene import request


def said(session: ServerSession | ClientSession) -> list[Any]:
    return [msgspec.json.decode(line) for line in session.output.take().splitlines()]


def line(message: dict[str, Any]) -> bytes:
    return msgspec.json.encode(message) + b"\n"


def arrived(session: ServerSession, message: dict[str, Any]) -> ServedCall:
    (event,) = session.receive(line(message))
    assert isinstance(event, CallArrived)
    return event.call


def test_a_closing_server_refuses_new_calls_and_answers_the_old() -> None:
    session = ServerSession(DEFAULT)
    call = arrived(session, request("s.m", id=1))
    session.closing = True
    assert session.receive(line(request("s.m", id=2))) == []
    session.reply(call, "done")
    refused, answered = said(session)
    assert (refused["id"], refused["error"]["data"]["status"]) == (2, "UNAVAILABLE")
    assert answered == {"jsonrpc": "2.0", "result": "done", "id": 1}


def test_a_call_is_answered_once() -> None:
    session = ServerSession(DEFAULT)
    call = arrived(session, request("s.m", id=1))
    session.reply(call, 1)
    session.reply(call, 2)
    session.fail(call, rpc_error(Status.ABORTED, "late"))
    session.item(call, "late")
    assert [one["result"] for one in said(session)] == [1]
    assert call.over


def test_a_result_that_cannot_be_written_leaves_the_call_to_fail() -> None:
    session = ServerSession(Settings(max_message_size=10))
    call = arrived(session, request("s.m", id=1))
    for result, status in ((object(), Status.INTERNAL), ("x" * 9, Status.RESOURCE_EXHAUSTED)):
        with pytest.raises(RpcError) as caught:
            session.reply(call, result, (("key", "value"),))
        assert caught.value.status == status
    assert not said(session)
    session.reply(call, "x" * 8)
    assert len(said(session)) == 1


def test_metadata_goes_before_the_response_to_who_asked_by_rpc_call() -> None:
    session = ServerSession(DEFAULT)
    plain = arrived(session, request("s.m", id=1))
    extended = arrived(session, request("rpc.call", {"method": "s.m"}, id=2))
    for call in (plain, extended):
        session.reply(call, None, (("key", "value"),))
    assert [one.get("method", one.get("id")) for one in said(session)] == [1, "rpc.metadata", 2]


def test_a_client_writes_the_extension_and_reads_the_answer() -> None:
    session = ClientSession(DEFAULT)
    call = session.call("s.m", {"n": 1}, Kind.DUPLEX, 2.5, (("key", "value"),))
    session.item(call, [1])
    session.end_items(call)
    session.end_items(call)
    session.item(call, "too late")
    assert [(one["method"], one["params"]) for one in said(session)] == [
        (
            "rpc.call",
            {
                "method": "s.m",
                "params": {"n": 1},
                "kind": "duplex",
                "timeout": 2.5,
                "metadata": [["key", "value"]],
                "credit": 1 << 20,
            },
        ),
        ("rpc.item", {"id": 1, "item": [1]}),
        ("rpc.end", {"id": 1}),
    ]
    (answer,) = session.receive(line({"jsonrpc": "2.0", "result": None, "id": 1}))
    assert isinstance(answer, CallAnswered)
    assert answer.call is call
    session.cancel(call)
    assert not said(session)


def test_a_cancelled_call_is_forgotten_at_once() -> None:
    session = ClientSession(DEFAULT)
    call = session.call("s.m", {}, Kind.UNARY, None, ())
    session.cancel(call)
    session.cancel(call)
    assert [one["method"] for one in said(session)] == ["rpc.call", "rpc.cancel"]
    assert session.receive(line({"jsonrpc": "2.0", "result": 1, "id": 1})) == []
    assert session.calls == 0


def test_nothing_is_read_after_what_broke_the_session() -> None:
    session = ClientSession(DEFAULT)
    session.call("s.m", {}, Kind.UNARY, None, ())
    (event,) = session.receive(b"nonsense\n" + line({"jsonrpc": "2.0", "result": 1, "id": 1}))
    assert isinstance(event, SessionBroken)
    assert session.receive(line({"jsonrpc": "2.0", "result": 1, "id": 1})) == []


def test_the_answers_to_a_batch_are_bounded_together() -> None:
    session = ServerSession(Settings(max_message_size=100_000))
    batch = [request("s.m", id=n) for n in range(5)]
    events = session.receive(msgspec.json.encode(batch) + b"\n")
    calls = [event.call for event in events if isinstance(event, CallArrived)]
    for call in calls[:4]:
        session.reply(call, "x" * 50_000)
    session.fail(calls[4], rpc_error(Status.ABORTED, "small"))
    (answers,) = said(session)
    assert [len(one.get("result", "")) for one in answers] == [50_000, 50_000, 0, 0, 0]
    statuses = [one["error"]["data"]["status"] for one in answers[2:]]
    assert statuses == ["RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED", "ABORTED"]
    assert [one["id"] for one in answers] == list(range(5))


def test_a_batch_of_one_may_have_the_largest_answer() -> None:
    session = ServerSession(Settings(max_message_size=100_000))
    (event,) = session.receive(msgspec.json.encode([request("s.m", id="i" * 1000)]) + b"\n")
    assert isinstance(event, CallArrived)
    session.reply(event.call, "x" * 99_998)
    assert len(said(session)[0][0]["result"]) == 99_998
