"""`keynet status`: what the running node says of itself, over its control socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from keynet.cli.reaching import link_lines, seed_lines
from keynet.control import call
from keynet.state import state_dir


def command(
    state: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="State directory of the node (else $KEYNET_STATE)."),
    ] = None,
    client: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Who is behind this client of a local server?"),
    ] = None,
    peer: Annotated[
        str | None, typer.Option(metavar="NODEID", help="What goes to and from this node?")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what the running node is, has and is connected to, its proxy's token included."""
    if client is not None or peer is not None:
        wanted = {"peer": peer} if client is None else {"client": client}
        _audit(call(state_dir(state), "audit", **wanted), as_json)
        return
    status = call(state_dir(state), "status")
    if as_json:
        typer.echo(json.dumps(status, ensure_ascii=False))
        return
    console = Console(highlight=False, soft_wrap=True)
    for name, values in _rows(status):
        for index, value in enumerate(values):
            console.print(f"[dim]{'' if index else name:<13}[/dim]{value}")


def _audit(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    tunnels = [(way, one) for way, all_ in found.items() for one in all_]
    for way, one in tunnels:
        preposition = "to" if way == "to_peers" else "from"
        typer.echo(
            f"{preposition} {one['peer']} at {one['remote']}, service {one['service'] or 'only'}, "
            f"client {one['client'] or 'on a Unix socket'}, {one['bytes_from_peer']} bytes in, "
            f"{one['bytes_to_peer']} out"
        )
    if not tunnels:
        typer.echo("none")


def _rows(status: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """A name and its lines each; a name without a line says what that means instead."""
    yield "node", [f"[bold]{status['node_id']}[/bold]"]
    yield "before", status["lineage"][1:]
    yield "certificate", [f"until {status['certificate_expires_at'][:10]}"]
    yield "version", [f"{status['version']}, process {status['process']}"]
    yield "UDP", [escape(address) for address in status["udp"]]
    yield "transport", [status["transport"]]
    yield "proxy", [escape(status["proxy"] or "none")]
    yield "token", [escape(status["proxy_token"])] if status["proxy_token"] else []
    services = status["services"].items()
    yield "services", [escape(f"{port} → {target}") for port, target in services] or ["none"]
    allowed = status["allow"]
    yield "allowed", ["everybody"] if allowed == "any" else allowed or ["nobody"]
    yield "RPC", list(_rpc(status["rpc"]))
    yield "peers", [escape(peer) for peer in status["peers"]]
    yield "seeds", [escape(line) for one in status["seeds"] for line in seed_lines(one)]
    mapping = (f"{family}: {kind}" for family, kind in status["mapping"].items())
    yield "mapping", list(mapping) if status["seeds"] else []
    yield "candidates", [escape(f"{c['address']} ({c['kind']})") for c in status["candidates"]]
    yield "signalling", list(_counted(status["signalling"]))
    tunnels = status["tunnels"]
    yield "tunnels", [f"{tunnels['to_peers']} to peers, {tunnels['from_peers']} from peers"]
    yield "buffers", list(_buffers(status["socket"]))
    yield "links", list(_links(status)) or ["none"]
    yield "connections", list(_connections(status)) or ["none"]


def _rpc(rpc: dict[str, Any]) -> Iterator[str]:
    yield escape(", ".join(f"{name} ({count})" for name, count in rpc["services"].items()))
    allowed = rpc["allow"]
    rules = ["everybody"] if allowed == "any" else allowed or ["nobody but for public services"]
    yield from (escape(f"callable by {rule}") for rule in rules)
    for name, counts in rpc["bindings"].items():
        yield f"{name}: {counts['taken']} calls taken, {counts['refused']} refused"
    yield f"{rpc['running']} running"


def _buffers(socket: dict[str, Any]) -> Iterator[str]:
    for family in ("ipv4", "ipv6"):
        if f"{family}_receive_buffer" in socket:
            receive, send = (socket[f"{family}_{way}_buffer"] >> 10 for way in ("receive", "send"))
            refused = " [yellow](the system refused more: see net.core.rmem_max)[/yellow]"
            given = socket.get(f"{family}_buffers_refused")
            yield f"{family}: receive {receive} KiB, send {send} KiB{refused if given else ''}"


def _links(status: dict[str, Any]) -> Iterator[str]:
    for link in status["links"]:
        yield link["peer"]
        yield from (escape(f"  {line}") for line in link_lines(link))
    if status["link_count"] > len(status["links"]):
        yield f"and {status['link_count'] - len(status['links'])} more"


def _counted(signalling: dict[str, dict[str, int]]) -> Iterator[str]:
    for part, counters in signalling.items():
        counted = ", ".join(f"{name} {count}" for name, count in sorted(counters.items()))
        if counted:
            yield escape(f"{part}: {counted}")


def _connections(status: dict[str, Any]) -> Iterator[str]:
    for one in status["connections"]:
        rtt = one["stats"].get("rtt_ms")
        facts = [
            f"{'to' if one['dialed'] else 'from'} {escape(one['remote'])}",
            one["transport"],
            f"{one['streams']} streams",
            f"open for {one['age_seconds']:.0f} s",
        ]
        if isinstance(rtt, int | float):
            facts.append(f"round trip {rtt:.1f} ms" if rtt else "round trip unknown")
        yield one["peer"]
        yield "  " + ", ".join(facts)
    if status["connection_count"] > len(status["connections"]):
        yield f"and {status['connection_count'] - len(status['connections'])} more"
