"""`keynet why`: why a peer is not reached, or how it is, as the running node knows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from keynet.address import NodeId
from keynet.cli.reaching import link_lines, seed_lines
from keynet.control import call
from keynet.state import state_dir

TIMEOUT = 30.0
"""Seconds for the node to answer: a dial's deadline by default, twice."""


def command(
    node: Annotated[str, typer.Argument(metavar="NODEID", help="The peer.")],
    state: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="State directory of the node (else $KEYNET_STATE)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell why a peer is not reached: every address tried, with its outcome, and what to do.

    If nothing has been tried yet, it is tried now.
    """
    params = {"node_id": str(NodeId.parse(node)), "try": True}
    found = call(state_dir(state), "why", TIMEOUT, **params)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    console = Console(highlight=False, soft_wrap=True)
    for line in _lines(found):
        console.print(line)


def _lines(found: dict[str, Any]) -> Iterator[str]:
    yield "[green]connected[/green]" if found["connected"] else "[red]not connected[/red]"
    if found["trouble"] is not None:
        yield f"  {escape(found['trouble'])}"
    if found["link"] is not None and found["link"]["paths"]:
        yield "paths"
        yield from (f"  {escape(line)}" for line in link_lines(found["link"]))
    if found["attempt"] is not None:
        under_way = found["link"] is not None and found["link"]["punching"]
        yield from _attempt(found["attempt"], under_way)
    if found["seeds"]:
        yield "seeds"
        yield from (f"  {escape(line)}" for one in found["seeds"] for line in seed_lines(one))
    mapping = ", ".join(f"{family} {kind}" for family, kind in found["mapping"].items())
    yield f"mapping of this node's NAT: {mapping}"
    yield from (f"[bold]-[/bold] {escape(line)}" for line in found["advice"])


def _attempt(attempt: dict[str, Any], under_way: bool) -> Iterator[str]:
    when = "being tried" if under_way else f"tried {attempt['seconds_ago']:.0f} s ago"
    yield f"{when}: {escape(attempt['result'])}"
    for one in attempt["addresses"]:
        facts = [one["fate"]]
        if one["rtt_ms"] is not None:
            facts.append(f"in {one['rtt_ms']:.1f} ms")
        if one["pings"]:
            facts.append(f"{one['pings']} pings")
        if one["detail"]:
            facts.append(one["detail"])
        yield f"  {one['kind']:<9} {escape(one['address'])}: {escape(', '.join(facts))}"
