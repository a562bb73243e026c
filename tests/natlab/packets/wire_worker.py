"""A process that is a slow wire: two TAPs, and a Line each way. Ends when its input does.

Usage: wire_worker NAMESPACE INTERFACE NAMESPACE INTERFACE LINK, where LINK is JSON.
"""

from __future__ import annotations

import json
import select
import sys
import time
from random import Random

from tests.natlab.packets.line import Line, Link
from tests.natlab.packets.tun import be_prompt, open_interface, read_packets, write_packet


def carry(ends: tuple[int, int], lines: tuple[Line, Line]) -> None:
    """Until standard input ends. `select` is exact to microseconds, which `epoll` is not."""
    while True:
        deadlines = [at for line in lines if (at := line.deadline()) is not None]
        wait = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
        ready, _, _ = select.select([sys.stdin.fileno(), *ends], [], [], wait)
        if sys.stdin.fileno() in ready:
            return
        now = time.monotonic()
        for end, line in zip(ends, lines, strict=True):
            if end in ready:
                for frame in read_packets(end):
                    line.push(frame, now)
        for end, line in zip(reversed(ends), lines, strict=True):
            for frame in line.pop(now):
                write_packet(end, frame)


def main() -> None:
    inner, interface, outer, port, link = sys.argv[1:]
    ends = open_interface(inner, interface, tap=True), open_interface(outer, port, tap=True)
    described = Link(**json.loads(link))
    be_prompt()
    print("ready", flush=True)
    carry(ends, (Line(described, Random(1)), Line(described, Random(2))))


if __name__ == "__main__":
    main()
