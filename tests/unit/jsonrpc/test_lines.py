"""Lines out of bytes."""

from __future__ import annotations

import pytest

from keynet.rpc.jsonrpc.lines import LineSplitter


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100])
def test_cuts_the_same_lines_however_bytes_come(step: int) -> None:
    data = b"one\n\ntwo two\nthree\nrest"
    splitter = LineSplitter(100)
    lines = []
    for start in range(0, len(data), step):
        lines += splitter.feed(data[start : start + step])
    assert lines == [b"one", b"", b"two two", b"three"]
    assert splitter.pending == 4
    assert not splitter.overflowed


def test_takes_a_line_as_long_as_the_limit() -> None:
    splitter = LineSplitter(4)
    assert splitter.feed(b"abcd\nabcd") == [b"abcd"]
    assert splitter.feed(b"\n") == [b"abcd"]
    assert not splitter.overflowed


@pytest.mark.parametrize(
    "chunks", [[b"ok\nabcde\nlost\n"], [b"ok\nabc", b"de"], [b"ok\nabc", b"de\nx\n"]]
)
def test_stops_at_a_longer_line_and_keeps_nothing_of_it(chunks: list[bytes]) -> None:
    splitter = LineSplitter(4)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    assert lines == [b"ok"]
    assert splitter.overflowed
    assert splitter.pending == 0
    assert splitter.feed(b"more\n") == []
