"""Events on standard output: sentences, JSON, and a reader that stops reading."""

from __future__ import annotations

import asyncio
import json
import os
import threading

import pytest

from keynet.address import NodeId, SocketAddress
from keynet.cli import output
from keynet.cli.output import EventPrinter, _sentence
from keynet.node import (
    ConnectionLost,
    ConnectionOpened,
    DialFailed,
    Events,
    EventsMissed,
    IdentityChanged,
    NodeEvent,
    Ready,
    Stopped,
    StreamRefused,
    StreamServed,
)

NODE = NodeId(bytes(range(32)))
AT = SocketAddress("127.0.0.1", 4)
ALL: list[NodeEvent] = [
    Ready(NODE, (AT,), None, {}),
    ConnectionOpened(NODE, "utp", AT, True, 0.25),
    ConnectionOpened(NODE, "utp", AT, False, None),
    ConnectionLost(NODE, None),
    ConnectionLost(NODE, "silence"),
    DialFailed(NODE, "nobody"),
    StreamServed(NODE, 80, 1.0, 5, 6),
    StreamServed(NODE, None, 1.0, reason="silence", protocol="jsonrpc"),
    StreamRefused(NODE, None, 404, "this node does not speak grpc", "grpc"),
    StreamRefused(NODE, None, None, "too many streams at a time"),
    StreamRefused(NODE, 22, 403, "not let in"),
    IdentityChanged(NODE, True),
    IdentityChanged(NODE, False),
    EventsMissed(3),
    Stopped("the cable was cut"),
]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    lines: list[bytes] = []

    def write(descriptor: int, data: bytes) -> int:
        assert descriptor == 1
        lines.append(data)
        return len(data)

    monkeypatch.setattr(os, "write", write)
    return lines


async def printed(events: list[NodeEvent], *, as_json: bool) -> None:
    source = Events()
    printer = EventPrinter(source.subscribe(), as_json=as_json)
    for event in events:
        source.publish(event)
    printer.start()
    await printer.ended()
    await printer.aclose()


async def test_json_is_one_object_a_line(written: list[bytes]) -> None:
    await printed(ALL, as_json=True)
    lines = b"".join(written).splitlines()
    found = [json.loads(line) for line in lines]
    assert [one["event"] for one in found][:2] == ["ready", "connection_opened"]
    assert len(found) == len(ALL)


async def test_people_get_sentences(written: list[bytes]) -> None:
    await printed(ALL, as_json=False)
    text = b"".join(written).decode()
    assert str(NODE) in text
    assert "dialled" in text
    assert "250.0 ms" in text
    assert "the cable was cut" in text
    assert "3 events were not shown" in text
    assert f"served port 80 to {NODE} for 1.0 s: 5 bytes in, 6 out\n" in text
    assert f"refused port 22 to {NODE}: 403 not let in" in text


@pytest.mark.parametrize(
    ("allow", "told"), [((), "nobody yet (--allow NODEID"), (("any",), "any"), (("a=1",), "a=1")]
)
async def test_who_may_reach_the_services(
    written: list[bytes], allow: tuple[str, ...], told: str
) -> None:
    await printed([Ready(NODE, (AT,), None, {80: "x:1"}, allow), Stopped(None)], as_json=False)
    assert f"allowed   {told}" in b"".join(written).decode()


@pytest.mark.parametrize("event", ALL[1:], ids=lambda event: type(event).__name__)
def test_every_event_has_a_sentence(event: NodeEvent) -> None:
    assert "(" not in _sentence(event).split(":")[0], "a repr, not a sentence"


async def test_a_reader_that_stops_reading_does_not_hold_the_node_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads_again = threading.Event()

    def stuck(descriptor: int, data: bytes) -> int:
        reads_again.wait(30)
        return len(data)

    monkeypatch.setattr(os, "write", stuck)
    monkeypatch.setattr(output, "LAST_LINES_TIMEOUT", 0.01)
    source = Events()
    printer = EventPrinter(source.subscribe(), as_json=True)
    printer.start()
    for number in range(5000):
        source.publish(DialFailed(NODE, str(number)))
        if number % 1000 == 0:
            await asyncio.sleep(0)
    source.publish(Stopped(None))
    async with asyncio.timeout(5):
        await printer.aclose()
    reads_again.set()


async def test_nobody_reads_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(descriptor: int, data: bytes) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(os, "write", broken)
    await printed(ALL, as_json=True)


async def test_ipv6_addresses_are_not_taken_for_markup(written: list[bytes]) -> None:
    address = SocketAddress("fd00::1", 4100)
    events: list[NodeEvent] = [
        Ready(NODE, (address,), str(address), {1: str(address)}),
        ConnectionOpened(NODE, "utp", address, True, 0.25),
        ConnectionLost(NODE, f"{address} is silent"),
        DialFailed(NODE, f"{address} is silent"),
        Stopped("[/dev/null] is full"),
    ]
    await printed(events, as_json=False)
    assert b"".join(written).count(b"[fd00::1]:4100") == 6


@pytest.mark.parametrize(
    ("allow", "told"), [((), "nobody yet (--allow-call"), (("any",), "any"), (("a=b",), "a=b")]
)
async def test_the_ready_lines_tell_what_may_be_called(
    written: list[bytes], allow: tuple[str, ...], told: str
) -> None:
    ready = Ready(NODE, (AT,), None, {}, (), ("sums", "keynet"), allow)
    await printed([ready, Stopped(None)], as_json=False)
    text = b"".join(written).decode()
    assert "RPC       sums\n" in text
    assert f"callable  {told}" in text


async def test_a_node_that_serves_nothing_says_nothing_of_rpc(written: list[bytes]) -> None:
    await printed([Ready(NODE, (AT,), None, {}, (), ("keynet",)), Stopped(None)], as_json=False)
    assert "RPC" not in b"".join(written).decode()
