"""The core of the slow wire: delay, order, rate and bounds. No lab."""

from __future__ import annotations

from random import Random

import pytest

from tests.natlab.packets.line import MOST_FRAMES, Line, Link


def line(**link: float) -> Line:
    return Line(Link(**link), Random(1))  # type: ignore[arg-type]


def test_every_frame_takes_the_delay() -> None:
    slow = line(delay=0.02)
    slow.push(b"a", 1.0)
    slow.push(b"b", 1.01)
    assert slow.deadline() == 1.02
    assert slow.pop(1.0199) == []
    assert slow.pop(1.02) == [b"a"]
    assert slow.pop(2.0) == [b"b"]
    assert slow.deadline() is None


def test_a_rate_spaces_frames() -> None:
    slow = line(rate=1000, delay=0.5)
    for _ in range(3):
        slow.push(bytes(100), 1.0)
    came_at = []
    while (at := slow.deadline()) is not None:
        assert len(slow.pop(at)) == 1
        came_at.append(at)
    assert came_at == pytest.approx([1.6, 1.7, 1.8])


def test_a_full_buffer_drops_and_drains() -> None:
    slow = Line(Link(rate=1000, buffer=250), Random(1))
    for _ in range(3):
        slow.push(bytes(100), 1.0)
    assert slow.dropped == 1
    assert len(slow.pop(1.25)) == 2
    slow.push(bytes(100), 1.25)
    assert slow.pop(1.5) == [bytes(100)]


def test_jitter_lets_frames_overtake_each_other() -> None:
    shaky = line(jitter=0.1)
    sent = [bytes([number]) for number in range(50)]
    for frame in sent:
        shaky.push(frame, 1.0)
    came = shaky.pop(1.1)
    assert came != sent
    assert sorted(came) == sent


def test_what_is_under_way_is_bounded() -> None:
    far = line(delay=10)
    for _ in range(MOST_FRAMES + 5):
        far.push(b"x", 0.0)
    assert far.dropped == 5
    assert len(far.pop(10.0)) == MOST_FRAMES
