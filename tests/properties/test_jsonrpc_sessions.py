"""JSON-RPC sessions: whatever bytes come, and however two ends are joined."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from keynet.rpc.jsonrpc.session.client import ClientSession, MadeCall
from keynet.rpc.jsonrpc.session.events import (
    CallAnswered,
    CallArrived,
    CallEnded,
    ItemArrived,
    ItemsEnded,
)
from keynet.rpc.jsonrpc.session.server import ServedCall, ServerSession
from keynet.rpc.jsonrpc.session.settings import Settings
from keynet.rpc.method import Kind
from keynet.rpc.status import Status, rpc_error

MEGABYTE = b"x" * 1_000_000
SMALL = Settings(max_message_size=500, window=131_072, budget=70_000, max_calls=4)

ids = st.sampled_from([1, 2, "a", None, 1.5, True, [], 10**25])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
methods = st.sampled_from(
    ["s.m", "rpc.call", "rpc.item", "rpc.end", "rpc.cancel", "rpc.credit", "rpc.metadata", "rpc.x"]
)
params = st.fixed_dictionaries(
    {},
    optional={
        "id": ids,
        "item": values,
        "credit": st.sampled_from([-1, 0, 1, 10**6, 2**40]),
        "method": st.sampled_from(["s.m", 5]),
        "params": values,
        "timeout": st.sampled_from([0, 1.5, -1, 1e300, "x"]),
        "metadata": st.sampled_from([[], [["a", "b"]], [["A", "\n"]], "x"]),
        "kind": st.sampled_from(["unary", "duplex", "other"]),
    },
)
messages = st.fixed_dictionaries(
    {"jsonrpc": st.sampled_from(["2.0", "2.0", "2.0", "1.0"])},
    optional={
        "method": methods,
        "params": params | values,
        "id": ids,
        "result": values,
        "error": st.fixed_dictionaries({"code": st.integers(), "message": st.text()}) | values,
    },
)
lines = (
    (messages | st.lists(messages, max_size=4) | values).map(msgspec.json.encode)
    | st.binary(max_size=60)
    | st.sampled_from([b"[" * 2000, b"{" * 10, b'{"id":' * 1000, b"9" * 5000, b"\xff\xfe"])
)
streams = st.lists(lines, max_size=12).map(b"\n".join)
chunk_sizes = st.lists(st.integers(1, 400), min_size=1, max_size=5)


def in_chunks(data: bytes, sizes: list[int]) -> list[bytes]:
    chunks, at, n = [], 0, 0
    while at < len(data):
        size = sizes[n % len(sizes)]
        chunks.append(data[at : at + size])
        at, n = at + size, n + 1
    return chunks


def check_output(output: bytes, received: int) -> None:
    """It is lines of JSON-RPC, and not much more than what it answers."""
    assert len(output) <= 1000 + 400 * received
    for line in output.splitlines():
        message = msgspec.json.decode(line)
        for one in message if isinstance(message, list) else [message]:
            assert one["jsonrpc"] == "2.0"


@settings(deadline=None)
@given(data=streams, sizes=chunk_sizes, endless=st.booleans())
def test_no_bytes_raise_from_a_server_or_make_it_grow(
    data: bytes, sizes: list[int], endless: bool
) -> None:
    session = ServerSession(SMALL)
    chunks = in_chunks(data, sizes) + ([MEGABYTE] * 5 if endless else [])
    under_way: set[ServedCall] = set()
    for chunk in chunks:
        for event in session.receive(chunk):
            if isinstance(event, CallArrived):
                under_way.add(event.call)
            elif isinstance(event, CallEnded):
                under_way.remove(event.call)
        assert session.calls == len(under_way) <= SMALL.max_calls
        assert session.budget.lent <= SMALL.budget
        check_output(session.output.take(), len(chunk) + 3000)
    assert session.broken == endless
    for call in under_way:
        session.fail(call, rpc_error(Status.ABORTED, "done"))
    assert session.calls == session.budget.lent == 0
    session.close()
    session.close()
    assert session.receive(data[:1000]) == []
    assert session.output.size == 0


@settings(deadline=None)
@given(data=streams, sizes=chunk_sizes, kinds=st.lists(st.sampled_from(Kind), max_size=3))
def test_no_bytes_raise_from_a_client_or_make_it_grow(
    data: bytes, sizes: list[int], kinds: list[Kind]
) -> None:
    session = ClientSession(SMALL)
    calls = [session.call("s.m", {}, kind, 1.0, ()) for kind in kinds]
    session.output.take()
    answered: list[MadeCall] = []
    for chunk in in_chunks(data, sizes):
        events = session.receive(chunk)
        answered += [event.call for event in events if isinstance(event, CallAnswered)]
        assert session.budget.lent <= SMALL.budget
        check_output(session.output.take(), len(chunk))
    assert len(answered) == len(set(answered))
    left = session.close()
    assert {*left, *answered} == set(calls)
    assert not set(left) & set(answered)
    for call in calls:
        session.cancel(call)
    assert session.budget.lent == 0
    assert session.receive(data) == []


class Ends:
    """Two sessions and the bytes between them, moved as the test says."""

    def __init__(self) -> None:
        self.client = ClientSession(Settings())
        self.server = ServerSession(Settings())
        self.to_server = b""
        self.to_client = b""
        self.served: list[ServedCall] = []
        self.up: dict[ServedCall, list[Any]] = defaultdict(list)
        self.down: dict[MadeCall, list[Any]] = defaultdict(list)
        self.ended: set[ServedCall] = set()
        self.answers: dict[MadeCall, Any] = {}

    def deliver_up(self, size: int) -> None:
        self.to_server += self.client.output.take()
        data, self.to_server = self.to_server[:size], self.to_server[size:]
        for event in self.server.receive(data):
            match event:
                case CallArrived(call):
                    self.served.append(call)
                case ItemArrived(call, item, taken):
                    self.up[call].append(msgspec.json.decode(item))
                    self.server.taken(call, taken)
                case ItemsEnded(call):
                    self.ended.add(call)
                case CallEnded():
                    raise AssertionError("nobody broke a rule")

    def deliver_down(self, size: int) -> None:
        self.to_client += self.server.output.take()
        data, self.to_client = self.to_client[:size], self.to_client[size:]
        for event in self.client.receive(data):
            match event:
                case ItemArrived(call, item, taken):
                    self.down[call].append(msgspec.json.decode(item))
                    self.client.taken(call, taken)
                case CallAnswered(call, outcome):
                    assert isinstance(outcome, Raw)
                    self.answers[call] = msgspec.json.decode(outcome)

    def deliver_everything(self) -> None:
        while (
            self.to_client or self.to_server or self.client.output.size or self.server.output.size
        ):
            self.deliver_up(1 << 20)
            self.deliver_down(1 << 20)


texts = st.text(max_size=30) | st.just("x" * 70_000)
steps = st.lists(
    st.tuples(st.sampled_from(["up", "down", "move up", "move down"]), st.integers(0, 2), texts,
              st.integers(1, 100_000)),
    max_size=60,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(steps=steps)
def test_two_ends_deliver_everything_in_order_however_they_are_joined(
    steps: list[tuple[str, int, str, int]],
) -> None:
    ends = Ends()
    calls = [ends.client.call("s.m", {"n": n}, Kind.DUPLEX, None, ()) for n in range(3)]
    ends.deliver_everything()
    assert len(ends.served) == 3
    said_up: dict[int, list[str]] = defaultdict(list)
    said_down: dict[int, list[str]] = defaultdict(list)
    for what, n, text, size in steps:
        if what == "up" and calls[n].credit.open:
            ends.client.item(calls[n], text)
            said_up[n].append(text)
        elif what == "down" and ends.served[n].credit.open:
            ends.server.item(ends.served[n], text)
            said_down[n].append(text)
        elif what == "move up":
            ends.deliver_up(size)
        elif what == "move down":
            ends.deliver_down(size)
    for n, call in enumerate(calls):
        ends.client.end_items(call)
        ends.server.reply(ends.served[n], None, (("n", str(n)),))
    ends.deliver_everything()
    for n, call in enumerate(calls):
        assert ends.down[call] == said_down[n]
        assert call.metadata == (("n", str(n)),)
        # What was under way when the server answered is passed over, what came before is whole.
        assert said_up[n][: len(ends.up[ends.served[n]])] == ends.up[ends.served[n]]
    assert set(ends.answers) == set(calls)
    assert ends.server.calls == ends.client.calls == 0
    assert ends.server.budget.lent == ends.client.budget.lent == 0


@given(steps=steps)
@settings(max_examples=30, deadline=None)
def test_every_item_of_the_client_arrives_before_its_end(
    steps: list[tuple[str, int, str, int]],
) -> None:
    ends = Ends()
    call = ends.client.call("s.m", {}, Kind.CLIENT_STREAM, None, ())
    said = []
    for _, _, text, size in steps:
        if call.credit.open:
            ends.client.item(call, text)
            said.append(text)
        ends.deliver_up(size)
        ends.deliver_down(size)
    ends.client.end_items(call)
    ends.deliver_everything()
    assert ends.up[ends.served[0]] == said
    assert ends.ended == set(ends.served)
