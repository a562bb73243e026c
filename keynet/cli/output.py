"""A node's events on standard output, for people or as JSON, without ever holding up the node.

A reader that stops reading would block a write, and with it the event loop: so a thread writes,
one line at a time, and what it cannot keep up with is dropped by the subscription's bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import sys
import threading
import time
from queue import SimpleQueue

from rich.console import Console
from rich.markup import escape

import keynet
from keynet.node import (
    ConnectionLost,
    ConnectionOpened,
    DialFailed,
    EventsMissed,
    IdentityChanged,
    NodeEvent,
    PathChanged,
    PeerHeard,
    PeerSilent,
    Ready,
    SeedChanged,
    Stopped,
    StreamRefused,
    StreamServed,
    Subscription,
    as_json,
)

OWN_SERVICES = {"keynet", "signalling", "seed"}
"""What nodes serve to each other of themselves."""

LAST_LINES_TIMEOUT = 1.0
"""Seconds that a closing node waits for its last events to be read."""


class EventPrinter:
    """Prints a subscription's events, beginning at `start`."""

    def __init__(self, events: Subscription, *, as_json: bool) -> None:
        self._events = events
        self._text = _json_line if as_json else _PeopleLines()
        self._writer = _Writer()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Print what has happened so far, and whatever comes."""
        self._task = asyncio.create_task(self._print(), name="print events")

    async def ended(self) -> None:
        """Wait until the node's last event was printed. Cancellable."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def aclose(self) -> None:
        """Print what is left, for a short time. Idempotent; the node is closed already."""
        if self._task is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._task, LAST_LINES_TIMEOUT)
        self._events.close()

    async def _print(self) -> None:
        async for event in self._events:
            await self._writer.write(self._text(event))


class _Writer:
    """Standard output, written by a daemon thread: os.write, so that it holds no lock at exit."""

    def __init__(self) -> None:
        self._lines: SimpleQueue[tuple[bytes, asyncio.Future[None]]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def write(self, text: str) -> None:
        """Returns when the text is out, or can never be."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="stdout", daemon=True)
            self._thread.start()
        done = asyncio.get_running_loop().create_future()
        self._lines.put((text.encode(errors="replace"), done))
        await done

    def _run(self) -> None:
        while True:
            line, done = self._lines.get()
            with contextlib.suppress(OSError):  # nobody reads any more: the node runs on
                while line:
                    line = line[os.write(1, line) :]
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                done.get_loop().call_soon_threadsafe(_resolve, done)


def _resolve(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _json_line(event: NodeEvent) -> str:
    return json.dumps(as_json(event), ensure_ascii=False) + "\n"


class _PeopleLines:
    """Events as lines for people, in colour on a terminal."""

    def __init__(self) -> None:
        self._buffer = io.StringIO()
        self._console = Console(
            file=self._buffer, force_terminal=sys.stdout.isatty(), highlight=False, soft_wrap=True
        )

    def __call__(self, event: NodeEvent) -> str:
        self._buffer.seek(0)
        self._buffer.truncate()
        if isinstance(event, Ready):
            self._ready(event)
        else:
            self._console.print(f"[dim]{time.strftime('%H:%M:%S')}[/dim] {_sentence(event)}")
        return self._buffer.getvalue()

    def _ready(self, event: Ready) -> None:
        services = ", ".join(f"{port} → {target}" for port, target in event.services.items())
        rows = {
            "node": f"[bold]{event.node_id}[/bold]",
            "UDP": escape(", ".join(str(address) for address in event.udp)),
        }
        if event.proxy or not event.seed:
            rows["proxy"] = escape(event.proxy or "none (--proxy HOST:PORT opens one)")
        if services or not event.seed:
            rows["services"] = escape(services or "none (--expose PORT=HOST:PORT offers one)")
        if event.services:
            nobody = "nobody yet (--allow NODEID lets a node in, --allow any every node)"
            rows["allowed"] = escape(", ".join(event.allow) or nobody)
        called = ", ".join(name for name in event.rpc_services if name not in OWN_SERVICES)
        if called:
            nobody = "nobody yet (--allow-call NODEID lets a node, --allow-call any every node)"
            rows["RPC"] = escape(called)
            rows["callable"] = escape(", ".join(event.allow_call) or nobody)
        if event.seed:
            rows["seed"] = escape("\n            ".join(f"--seed {one}" for one in event.seed))
        self._console.print(f"keynet {keynet.__version__} is ready; Ctrl-C ends it")
        for name, value in rows.items():
            self._console.print(f"  {name:<9} {value}")


def _sentence(event: NodeEvent) -> str:
    match event:
        case ConnectionOpened(peer, transport, remote, dialed, seconds):
            how = "dialled" if dialed else "was dialled by"
            took = f" in {seconds * 1000:.1f} ms" if seconds is not None else ""
            return f"[green]{how}[/green] {peer} at {escape(str(remote))} over {transport}{took}"
        case ConnectionLost(peer, None):
            return f"[yellow]closed[/yellow] the connection with {peer}"
        case ConnectionLost(peer, reason):
            return f"[red]lost[/red] the connection with {peer}: {escape(str(reason))}"
        case DialFailed(peer, reason):
            return f"[red]could not reach[/red] {peer}: {escape(reason)}"
        case StreamServed():
            return _served(event)
        case StreamRefused(peer, service, status, reason, protocol):
            what = protocol or ("a stream" if service is None else f"port {service}")
            why = escape(reason) if status is None else f"{status} {escape(reason)}"
            return f"[red]refused[/red] {what} to {peer}: {why}"
        case PathChanged(peer, remote, rtt):
            trip = f", round trip {rtt * 1000:.1f} ms" if rtt is not None else ""
            return f"[green]another path[/green] to {peer}: {escape(str(remote))}{trip}"
        case PeerSilent(peer, reason):
            return f"[yellow]silent[/yellow]: {peer} ({escape(reason)})"
        case PeerHeard(peer, silence):
            return f"[green]heard again[/green]: {peer}, after {silence:.0f} s"
        case SeedChanged(seed, True, observed, _):
            return f"[green]registered[/green] at the seed {seed}, seen as {escape(str(observed))}"
        case SeedChanged(seed, False, _, reason):
            return f"[yellow]not registered[/yellow] at the seed {seed}: {escape(reason or 'left')}"
        case IdentityChanged(node_id, rotated):
            return (
                f"the key was rotated: now {node_id}" if rotated else "the certificate was renewed"
            )
        case EventsMissed(count):
            return f"[yellow]{count} events were not shown[/yellow]"
        case Stopped(None):
            return "closed"
        case Stopped(reason):
            return f"[red]closed[/red]: {escape(str(reason))}"
    return str(event)


def _served(event: StreamServed) -> str:
    broken = f", [yellow]broken off[/yellow]: {escape(event.reason)}" if event.reason else ""
    what = event.protocol or f"port {event.service}"
    if event.protocol is None:
        broken = f": {event.bytes_from_peer} bytes in, {event.bytes_to_peer} out{broken}"
    return f"served {what} to {event.peer} for {event.seconds:.1f} s{broken}"
