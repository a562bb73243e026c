"""Checks of streams on a path without faults: T-10 to T-17."""

from __future__ import annotations

import functools
from collections.abc import Callable

from keynet.errors import ClosedByPeer, ClosedError, LocallyClosed
from keynet.testing.transport.rules import TransportFactory, rule
from keynet.testing.transport.scene import App, Scene, StreamLog, payload
from keynet.transport.api import Capability, StreamId

MOST_BUFFERED = 16 << 20
"""Bytes that one stream may take while the application at its other end reads nothing."""


def same(received: bytes | bytearray, sent: bytes, what: str) -> None:
    """Assert that bytes arrived exactly; says where they do not."""
    if received == sent:
        return
    at = next((i for i, (x, y) in enumerate(zip(received, sent, strict=False)) if x != y), None)
    where = f"the first difference is at {at}" if at is not None else "one is the other's beginning"
    raise AssertionError(f"{what}: {len(received)} bytes instead of {len(sent)}; {where}")


def finished(*streams: StreamLog) -> bool:
    return all(stream.closed for stream in streams)


@rule("T-10", "a stream carries bytes both ways, exactly", Capability.STREAMS)
def check_carries_bytes(make: TransportFactory) -> None:
    scene = Scene(make)
    question, answer = payload(100_000, 1), payload(150_000, 2)
    scene.listener.on_stream = lambda opened: scene.listener.send(opened, answer, eof=True)
    scene.connect()
    here = scene.dialer.open()
    scene.dialer.send(here, question, eof=True)
    scene.run(lambda: scene.listener.opened)
    mine, theirs = scene.dialer.streams[here], scene.listener.streams[scene.listener.opened[0]]
    scene.run(lambda: finished(mine, theirs))
    same(theirs.received, question, "at the listener")
    same(mine.received, answer, "at the dialer")
    for stream in (mine, theirs):
        assert stream.established, "StreamEstablished or StreamOpened never came"
        assert stream.ended, "StreamEnded never came"
        assert stream.error is None, f"a clean end was reported as {stream.error!r}"


@rule("T-11", "streams run side by side, opened from both ends", Capability.STREAMS)
def check_runs_streams_side_by_side(make: TransportFactory) -> None:
    scene = Scene(make)
    apps = (scene.dialer, scene.listener)
    for app in apps:
        app.on_stream = functools.partial(app.send, data=b"", eof=True)
    scene.connect()
    count = 12
    sent = [[payload(30_000, 100 * n + i) for i in range(count)] for n in range(2)]
    for app, contents in zip(apps, sent, strict=True):
        for data in contents:
            app.send(app.open(), data, eof=True)
    scene.run(
        lambda: all(len(a.streams) == 2 * count and finished(*a.streams.values()) for a in apps)
    )
    for app, contents in zip(apps, reversed(sent), strict=True):
        arrived = sorted(bytes(app.streams[opened].received) for opened in app.opened)
        assert arrived == sorted(contents), f"the {app.name} did not get every stream exactly"


@rule("T-12", "either end may finish first, and the other goes on", Capability.STREAMS)
def check_half_closes_both_ways(make: TransportFactory) -> None:
    for first in ("dialer", "listener"):
        scene = Scene(make).connect()
        here, there = scene.open()
        ends = [(scene.dialer, here), (scene.listener, there)]
        finish_one_after_the_other(scene, *(ends if first == "dialer" else ends[::-1]))


def finish_one_after_the_other(
    scene: Scene, early: tuple[App, StreamId], late: tuple[App, StreamId]
) -> None:
    (early_app, early_id), (late_app, late_id) = early, late
    logs = early_app.streams[early_id], late_app.streams[late_id]
    early_app.send(early_id, b"that is all", eof=True)
    scene.run(lambda: logs[1].ended)
    same(logs[1].received, b"that is all", f"from the {early_app.name}")
    scene.run(5.0)
    assert not logs[0].closed, f"the stream closed when the {early_app.name} finished"
    rest = payload(200_000, 3)
    late_app.send(late_id, rest, eof=True)
    scene.run(lambda: finished(*logs))
    same(logs[0].received, rest, f"to the {early_app.name}, which had finished")
    assert [log.error for log in logs] == [None, None], "a clean end was reported as an error"


@rule("T-13", "the end comes after every byte, also when the reader is slow", Capability.STREAMS)
def check_keeps_the_tail(make: TransportFactory) -> None:
    scene = Scene(make).connect()
    here, there = scene.open()
    scene.listener.reading = False
    data = payload(120_000, 4)
    scene.dialer.send(here, data, eof=True)
    scene.run(10.0)
    log = scene.listener.streams[there]
    assert not log.ended, "StreamEnded came before its bytes had been read"
    assert not log.closed, f"the stream closed before its bytes had been read: {log.error!r}"
    scene.listener.reading = True
    scene.listener.read()
    scene.run(lambda: log.ended)
    same(log.received, data, "what was written before the end")


@rule("T-14", "a reset ends one stream, both ways, at once", Capability.STREAMS)
def check_resets_one_stream(make: TransportFactory) -> None:
    scene = Scene(make).connect()
    (here, there), (other, still_open) = scene.open(), scene.open()
    scene.dialer.reset(here)
    scene.dialer.reset(here)
    scene.run(lambda: finished(scene.dialer.streams[here], scene.listener.streams[there]))
    error = scene.listener.streams[there].error
    assert isinstance(error, ClosedByPeer), f"the peer was told {error!r} instead of ClosedByPeer"
    assert scene.dialer.streams[here].error is not None, "a reset was reported as a clean end"
    scene.dialer.send(other, b"still here", eof=True)
    still = scene.listener.streams[still_open]
    scene.run(lambda: still.ended)
    same(still.received, b"still here", "on the other stream")


@rule("T-15", "a reader that stops holds its writer, and nobody else", Capability.STREAMS)
def check_holds_the_writer(make: TransportFactory) -> None:
    scene = Scene(make).connect()
    (here, there), (other, still_open) = scene.open(), scene.open()
    scene.listener.reading = False
    data = payload(MOST_BUFFERED + 65536, 5)
    scene.dialer.send(here, data)
    scene.run(15.0)
    taken = scene.dialer.streams[here].taken
    assert taken <= MOST_BUFFERED, f"{taken} bytes were taken that nobody read"
    scene.dialer.streams[here].unsent = data[taken : taken + 300_000]
    scene.listener.reading = True
    log, still = scene.listener.streams[there], scene.listener.streams[still_open]
    scene.dialer.send(other, b"not held", eof=True)
    scene.run(lambda: still.ended)
    scene.listener.read()
    scene.run(lambda: len(log.received) >= taken + 300_000)
    same(log.received, data[: taken + 300_000], "after the reader went on")


@rule("T-16", "a verb on a stream that is not open raises LocallyClosed", Capability.STREAMS)
def check_refuses_unknown_streams(make: TransportFactory) -> None:
    scene = Scene(make).connect()
    here, _ = scene.open()
    engine, now = scene.dialer.engine, scene.pair.now
    unknown: StreamId = 987_654
    raises(LocallyClosed, lambda: engine.write(unknown, b"x", now))
    raises(LocallyClosed, lambda: engine.read(unknown, 10, now))
    engine.write_eof(here, now)
    raises(ClosedError, lambda: engine.write(here, b"after the end", now))


def raises(error: type[Exception], call: Callable[[], object]) -> None:
    try:
        call()
    except error:
        return
    raise AssertionError(f"{error.__name__} was not raised")


@rule("T-17", "a large transfer arrives exactly, both ways at once", Capability.STREAMS)
def check_carries_much(make: TransportFactory) -> None:
    exchange(Scene(make, mtu=1200).connect(), 2 << 20)


def exchange(scene: Scene, size: int, *, limit: float = 120.0) -> tuple[StreamLog, StreamLog]:
    """Send `size` bytes each way on a new stream, ends included; they must arrive exactly."""
    here, there = scene.open()
    up, down = payload(size, 6), payload(size, 7)
    scene.dialer.send(here, up, eof=True)
    scene.listener.send(there, down, eof=True)
    mine, theirs = scene.dialer.streams[here], scene.listener.streams[there]
    scene.run(lambda: finished(mine, theirs), limit=limit)
    same(theirs.received, up, "at the listener")
    same(mine.received, down, "at the dialer")
    return mine, theirs
