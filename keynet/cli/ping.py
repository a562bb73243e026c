"""`keynet ping`: the way to a peer, measured through the running node."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from keynet.address import NodeId
from keynet.control import call
from keynet.errors import ConfigError, ConnectError, KeynetError
from keynet.rpc.status import printable
from keynet.state import state_dir

TIMEOUT = 40.0
"""Seconds for the node to answer: a dial's deadline and the waits of one ping, by default."""


@dataclass(slots=True)
class Tally:
    """What came of all pings so far."""

    sent: int = 0
    answered: int = 0
    link_ms: list[float] = field(default_factory=list)
    rpc_ms: list[float] = field(default_factory=list)

    def add(self, answer: dict[str, Any]) -> None:
        """Count what the node answered; one that neither link nor call answered is lost."""
        link, rpc = answer["link_ms"], answer["rpc_ms"]
        self.answered += link is not None or rpc is not None
        self.link_ms += [link] if link is not None else []
        self.rpc_ms += [rpc] if rpc is not None else []

    def described(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "sent": self.sent,
            "answered": self.answered,
            "link_ms": _spread(self.link_ms),
            "rpc_ms": _spread(self.rpc_ms),
        }

    def lines(self) -> list[str]:
        """For people."""
        lines = [f"{self.answered} of {self.sent} answered"]
        for name, values in (("link", self.link_ms), ("call", self.rpc_ms)):
            spread = _spread(values)
            if spread is not None:
                figures = " / ".join(f"{spread[one]:.1f}" for one in ("min", "mean", "max"))
                lines.append(f"{name} round trip {figures} ms (least, mean, most)")
        return lines


def command(
    node: Annotated[str, typer.Argument(metavar="NODEID", help="The peer.")],
    count: Annotated[
        int | None,
        typer.Option("-c", "--count", min=1, help="How often. \\[default: until Ctrl-C]"),
    ] = None,
    interval: Annotated[
        float, typer.Option("-i", "--interval", min=0.1, max=3600, help="Seconds between pings.")
    ] = 1.0,
    state: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="State directory of the node (else $KEYNET_STATE)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Ping a peer: the path, direct or relayed, and the round trips of the link and of a call.

    Connects first if need be, and tells how long that took. Ends with status 1 if nothing
    answered. See keynet why if nothing does.
    """
    node_id, directory, tally = NodeId.parse(node), state_dir(state), Tally()
    with contextlib.suppress(KeyboardInterrupt):  # that is how it ends without --count
        _ping(node_id, directory, tally, count, interval, as_json)
    summary = tally.described()
    print(json.dumps({"event": "summary", **summary}) if as_json else "\n".join(tally.lines()))
    if not tally.answered:
        print(f"keynet: keynet why {node_id} tells what was tried", file=sys.stderr)
        raise typer.Exit(1)


def _ping(
    node_id: NodeId,
    state: Path,
    tally: Tally,
    count: int | None,
    interval: float,
    as_json: bool,
) -> None:
    while True:
        began_at = time.monotonic()
        tally.sent += 1
        answer = _once(node_id, state)
        if answer["error"] is None:
            tally.add(answer)
        print(json.dumps({"event": "ping", **answer}) if as_json else _line(answer), flush=True)
        if tally.sent == count:
            return
        time.sleep(max(0.0, began_at + interval - time.monotonic()))


def _once(node_id: NodeId, state: Path) -> dict[str, Any]:
    """What the node answers, or what it failed with. Raises what another try would not change."""
    try:
        return {"error": None, **call(state, "ping", TIMEOUT, node_id=str(node_id))}
    except (ConfigError, ConnectError):  # a wrong question, or no node to ask
        raise
    except KeynetError as error:
        return {"error": printable(str(error))}


def _line(answer: dict[str, Any]) -> str:
    if answer["error"] is not None:
        return f"not reached: {answer['error']}"
    parts = [f"{answer['remote'] or 'no path'} ({'relayed' if answer['relayed'] else 'direct'})"]
    if answer["opened_ms"] is not None:
        how = "punched and connected" if answer["punched"] else "connected"
        parts.append(f"{how} first, in {answer['opened_ms']:.0f} ms")
    link, rpc = answer["link_ms"], answer["rpc_ms"]
    parts.append(f"link {link:.1f} ms" if link is not None else "no pong")
    parts.append(f"call {rpc:.1f} ms" if rpc is not None else f"no answer: {answer['rpc_error']}")
    return ", ".join(parts)


def _spread(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    mean = round(sum(values) / len(values), 3)
    return {"min": min(values), "mean": mean, "max": max(values)}
