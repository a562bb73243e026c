"""Raw endpoint-to-endpoint throughput: two processes over loopback, no protocol above.

    python benchmarks/udp.py [--seconds 2] [--host 127.0.0.1] [--wildcard]

Prints, for each shell and datagram size, MB/s received and processor seconds per GB of either end.
Nothing is acknowledged: the sender keeps a fixed number of bytes under way, and learns from a
counter in shared memory what has arrived.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from keynet.address import SocketAddress
from keynet.engine import Datagrams
from keynet.udp.api import Sent
from keynet.udp.endpoint import bind
from keynet.udp.path import Path

UNDER_WAY = 2 * 1024 * 1024
"""Bytes that may be on the way: well within the receive buffer."""


@dataclass(slots=True)
class Sink:
    """A receiver that counts."""

    counter: Any
    received: int = 0
    batches: int = 0

    def datagrams_received(self, datagrams: Datagrams, path: Path, now: float) -> None:
        self.received += len(datagrams.data)
        self.batches += 1

    def drained(self, now: float) -> None:
        self.counter.value = self.received

    def writable(self) -> None: ...

    def endpoint_failed(self, error: OSError) -> None:
        raise error


async def receive(host: str, shell: str, counter: Any, stop: Any, pipe: Connection) -> None:
    """Count what comes until `stop` is set."""
    endpoint = await bind([SocketAddress(host, 0)], shell=shell)
    sink = Sink(counter)
    endpoint.set_receiver(sink)
    pipe.send(endpoint.addresses[0].port)
    while not stop.is_set():
        await asyncio.sleep(0.05)
    pipe.send((sink.received, sink.batches, time.process_time()))
    endpoint.close()


async def send(target: SocketAddress, shell: str, size: int, seconds: float, counter: Any) -> float:
    """Send for `seconds`; the processor time per byte."""
    host = "::1" if target.is_ipv6 else "127.0.0.1"
    endpoint = await bind([SocketAddress(host, 0)], shell=shell)
    endpoint.set_receiver(Sink(counter))
    count = min(64, endpoint.max_batch // size)
    batch, path = Datagrams(bytes(size * count), size), Path(target)
    until, sent, lost, waits = time.monotonic() + seconds, 0, 0, 0
    spent = 0.0
    while time.monotonic() < until:
        if sent - lost - counter.value > UNDER_WAY:
            time.sleep(0.0002)
            waits += 1
            if waits > 500:
                lost, waits = sent - counter.value, 0
            continue
        waits = 0
        began = time.process_time()
        if endpoint.send(batch, path) is Sent.OK:
            sent += len(batch.data)
        spent += time.process_time() - began
    endpoint.close()
    return spent / max(1, sent)


def run(shell: str, size: int, seconds: float, host: str, wildcard: bool) -> str:
    """One line of the table."""
    context = multiprocessing.get_context("spawn")
    counter, stop = context.Value("q", 0, lock=False), context.Event()
    ours, theirs = context.Pipe()
    bound = ("::" if ":" in host else "0.0.0.0") if wildcard else host
    receiver = context.Process(target=_receiver, args=(bound, shell, counter, stop, theirs))
    receiver.start()
    port = ours.recv()
    began = time.monotonic()
    send_cost = asyncio.run(send(SocketAddress(host, port), shell, size, seconds, counter))
    took = time.monotonic() - began
    stop.set()
    received, batches, cpu = ours.recv()
    receiver.join()
    return (
        f"{shell:9} {size:6} B  {received / took / 1e6:7.0f} MB/s"
        f"  sending {send_cost * 1e9:5.2f}  receiving {cpu / max(1, received) * 1e9:5.2f} CPU s/GB"
        f"  {received / max(1, batches) / 1024:5.1f} KiB a batch"
    )


def _receiver(host: str, shell: str, counter: Any, stop: Any, pipe: Connection) -> None:
    asyncio.run(receive(host, shell, counter, stop, pipe))


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--wildcard", action="store_true", help="bind the receiver to any address")
    options = parser.parse_args()
    for size in (1472, 16384, 65000):
        for shell in ("batched", "plain", "portable"):
            print(run(shell, size, options.seconds, options.host, options.wildcard), flush=True)


if __name__ == "__main__":
    main()
