"""`keynet doctor`: what this machine's network lets a node do, and what to do about it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from keynet.address import Authority, SocketAddress
from keynet.cli import loop
from keynet.cli.logs import set_up_logging
from keynet.config import StaticPeer
from keynet.control import call
from keynet.discovery.advice import advice
from keynet.discovery.checkup import Checkup, SocketCheck, check_up
from keynet.discovery.nat_behaviour import Behaviour
from keynet.errors import ConfigError, ConnectError, LookupFailed
from keynet.rpc.proxy.forward import resolve_by_system
from keynet.state import state_dir


def command(
    seed: Annotated[
        list[str] | None,
        typer.Option(metavar="NODEID@HOST:PORT", help="A seed to be seen by; several help."),
    ] = None,
    stun: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="Any STUN server; best one that knows RFC 5780."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Whose node's seeds to ask when none is named (else $KEYNET_STATE)."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Examine addresses, sockets, NATs and firewalls here, and say what they mean for a node.

    Sends some thirty datagrams to the server, from sockets of its own; takes up to a minute.
    """
    set_up_logging("error", as_json=False)  # what is refused, the findings tell
    servers = [StaticPeer.parse(text).address for text in seed or ()]
    servers += [Authority.parse(text) for text in stun or ()]
    if not servers:
        servers = _known_seeds(state)
    if servers and not as_json:
        print(f"asking {', '.join(map(str, servers))}: up to a minute", file=sys.stderr)
    found, unknown = loop.run(_check_up(servers))
    lines = advice(found) + [f"{error}." for error in unknown]
    if as_json:
        typer.echo(json.dumps(described(found, lines), ensure_ascii=False))
        return
    console = Console(highlight=False, soft_wrap=True)
    for name, values in _rows(found):
        for index, value in enumerate(values):
            console.print(f"[dim]{'' if index else name:<11}[/dim]{escape(value)}")
    for line in lines:
        console.print(f"- {escape(line)}")


def _known_seeds(state: Path | None) -> list[Authority]:
    """Those of the node that runs here, if one does."""
    try:
        status = call(state_dir(state), "status")
    except ConnectError:
        return []
    return [StaticPeer.parse(one["seed"]).address for one in status["seeds"]]


async def _check_up(servers: list[Authority]) -> tuple[Checkup, list[str]]:
    """What was found, and which servers' names could not be looked up."""
    addresses: list[SocketAddress] = []
    unknown: list[str] = []
    for server in servers:
        try:
            addresses += await resolve_by_system(server.host, server.port)
        except LookupFailed as error:
            unknown.append(str(error))
    if unknown and not addresses:
        raise ConfigError("; ".join(unknown))
    return await check_up(list(dict.fromkeys(addresses))), unknown


def described(found: Checkup, lines: list[str]) -> dict[str, Any]:
    """Everything, as JSON types."""
    return {
        "sockets": {f"ipv{family}": _socket(one) for family, one in found.sockets.items()},
        "behaviour": {f"ipv{family}": _behaviour(one) for family, one in found.behaviour.items()},
        "advice": lines,
    }


def _socket(one: SocketCheck) -> dict[str, Any]:
    return {
        "addresses": list(one.hosts),
        "receive_buffer": one.receive_buffer,
        "send_buffer": one.send_buffer,
        "buffers_refused": one.refused,
    }


def _behaviour(one: Behaviour) -> dict[str, Any]:
    return {
        "server": str(one.server),
        "answered": one.mapped is not None,
        "mapped": _text(one.mapped),
        "rtt_ms": round(one.rtt * 1000, 3) if one.rtt is not None else None,
        "other_address": _text(one.other),
        "mapping": one.mapping.value,
        "filtering": one.filtering.value,
        "hairpinning": one.hairpinning,
        "mtu": one.mtu,
    }


def _text(address: SocketAddress | None) -> str | None:
    return str(address) if address is not None else None


def _rows(found: Checkup) -> Iterator[tuple[str, list[str]]]:
    for family in (4, 6):
        lines = list(_family(found, family))
        yield f"IPv{family}", lines or ["no socket of that family can be opened"]


def _family(found: Checkup, family: int) -> Iterator[str]:
    socket = found.sockets.get(family)
    if socket is None:
        return
    receive, send = socket.receive_buffer >> 10, socket.send_buffer >> 10
    yield f"addresses {', '.join(socket.hosts) or 'none'}"
    yield f"buffers   receive {receive} KiB, send {send} KiB"
    one = found.behaviour.get(family)
    if one is None:
        yield "NAT       unknown: no server of this family was asked"
        return
    if one.mapped is None or one.rtt is None:
        yield f"server    {one.server} does not answer"
        return
    yield f"server    {one.server} answers in {one.rtt * 1000:.1f} ms"
    yield f"outside   {one.mapped}"
    yield f"mapping   {one.mapping.value}"
    why = "" if one.other else " (the server has no other address to test from)"
    yield f"filtering {one.filtering.value}{why}"
    turned_back = {True: "yes", False: "no", None: "not to be tested"}[one.hairpinning]
    yield f"hairpin   {turned_back}"
    passed = f"{one.mtu} bytes of UDP payload pass whole" if one.mtu else "unknown"
    yield f"MTU       {passed}"
