"""A server worker, what stands in the middle, and the client workers that run against them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NamedTuple

from benchmarks.network import Network
from benchmarks.process import Process, Usage
from benchmarks.stream import Address
from benchmarks.workloads import Values

START_TIMEOUT = 20.0
RUN_TIMEOUT = 120.0


class Between(NamedTuple):
    """What a middle gives: how the client reaches the server through it, and its processes."""

    address: Address
    processes: tuple[Process, ...]


Middle = Callable[[Network, Address], AbstractContextManager[Between]]


@contextmanager
def nothing(network: Network, address: Address) -> Iterator[Between]:
    """No middle: the client reaches the server itself."""
    yield Between(address, ())


class Session:
    """One peer's processes, started once and used by several runs."""

    def __init__(self, network: Network, peer: str, address: Address, processes: list[Process]):
        self._network, self._peer = network, peer
        self._address, self._processes = address, processes

    def run(self, workload: str, **arguments: Any) -> Values:
        """One client worker, from its start to its result; WorkerFailed when it does not get there.

        To what the workload measured this adds, for each process: the CPU seconds per 10^9 bytes of
        a transfer, the kB that each idle stream added.
        """
        given = json.dumps({"address": self._address, **arguments})
        command = (*_python(self._network.client_prefix), "run", self._peer, workload, given)
        with Process("client", command) as client:
            everyone = [client, *self._processes]
            marks: dict[str, list[Usage]] = {}
            while (said := client.hear(RUN_TIMEOUT))["event"] == "mark":
                marks[said["name"]] = [process.usage() for process in everyone]
                client.say("go")
        values: Values = said["values"]
        if marks:
            values |= _costs([process.role for process in everyone], marks, values)
        return values


@contextmanager
def session(network: Network, peer: str, middle: Middle = nothing) -> Iterator[Session]:
    """Start the server worker at the server's place, and the middle before it."""
    with ExitStack() as stack:
        command = (*_python(network.server_prefix), "serve", peer, network.server_host)
        server = stack.enter_context(Process("server", command))
        address = server.hear(START_TIMEOUT)
        between = stack.enter_context(middle(network, address))
        yield Session(network, peer, between.address, [server, *between.processes])


def _python(prefix: tuple[str, ...]) -> tuple[str, ...]:
    return (*prefix, sys.executable, "-m", "benchmarks.worker")


def _costs(roles: list[str], marks: dict[str, list[Usage]], values: Values) -> Values:
    costs: Values = {}
    for role, before, after in zip(roles, marks["begin"], marks["end"], strict=True):
        if "bytes" in values:
            costs[f"{role} cpu_s_per_gb"] = (after.cpu_s - before.cpu_s) / values["bytes"] * 1e9
        if "count" in values:
            grown = after.resident_bytes - before.resident_bytes
            costs[f"{role} kb_each"] = grown / values["count"] / 1e3
    return costs
