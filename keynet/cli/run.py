"""`keynet run`: a node in the foreground, until a signal ends it. Wiring of flags only."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from keynet.cli import loop
from keynet.cli.id import read_passphrase
from keynet.cli.logs import set_up_logging
from keynet.cli.output import EventPrinter
from keynet.cli.signals import before, stop_event
from keynet.config import Config, read
from keynet.control import ControlServer
from keynet.control.verbs import verbs
from keynet.node import Node

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", envvar="KEYNET_CONFIG", help="TOML file with these settings; flags win."
    ),
]
Listen = Annotated[
    list[str] | None,
    typer.Option(metavar="HOST:PORT", help="UDP address; once for IPv4, once for IPv6."),
]
Proxy = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT|unix:PATH", help="Where the forward proxy listens."),
]
ProxyToken = Annotated[
    str | None,
    typer.Option(
        metavar="TOKEN",
        envvar="KEYNET_PROXY_TOKEN",
        help="What the proxy's clients must show; made, and kept, when not given.",
    ),
]
Expose = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PORT=HOST:PORT|PORT=unix:PATH", help="A local server to let peers in to."
    ),
]
Allow = Annotated[
    list[str] | None,
    typer.Option(metavar="NODEID[=PORT,…]|any", help="Who may reach it: nobody by default."),
]
Serve = Annotated[
    list[str] | None,
    typer.Option(metavar="MODULE:NAME", help="A service definition for peers to call."),
]
AllowCall = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NODEID[=SERVICE[.METHOD],…]|any", help="Who may call it: nobody by default."
    ),
]
Rpc = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Beside jsonrpc; see keynet plugins. \\[default: jsonrpc]"),
]
RpcOption = Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Its settings.")]
Peer = Annotated[
    list[str] | None, typer.Option(metavar="NODEID@HOST:PORT", help="A peer's UDP address.")
]
Seed = Annotated[
    list[str] | None,
    typer.Option(metavar="NODEID@HOST:PORT", help="A seed: register there, ask it for peers."),
]
Deny = Annotated[
    list[str] | None, typer.Option(metavar="NODEID", help="Do not serve this node at all.")
]
ConsentInterval = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Between pings on a path in use. \\[default: 5]"),
]
PathTimeout = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Of silence until a path is given up. \\[default: 8]"),
]
LossTimeout = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Of silence until a peer is lost. \\[default: 15]"),
]
Transport = Annotated[
    str | None, typer.Option(metavar="NAME", help="See keynet plugins. \\[default: utp]")
]
TransportOption = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Its settings, as congestion=cubic."),
]
Deadline = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="For a whole CONNECT. \\[default: 15]")
]
ConnectionsPerNetwork = Annotated[
    int | None,
    typer.Option(metavar="N", help="From one IPv4 address or IPv6 /64, at most. \\[default: 256]"),
]
Grace = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="For running calls at the end. \\[default: 5]"),
]
State = Annotated[
    Path | None,
    typer.Option(metavar="DIR", envvar="KEYNET_STATE", help="Where identity and token are kept."),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Unlocks the keys (else $KEYNET_PASSPHRASE)."),
]
Json = Annotated[bool, typer.Option("--json", help="Events as JSON, one a line.")]
LogLevel = Annotated[
    str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")
]
LogJson = Annotated[bool, typer.Option("--log-json", help="Log lines as JSON.")]


def command(
    config: ConfigFile = None,
    listen: Listen = None,
    proxy: Proxy = None,
    proxy_token: ProxyToken = None,
    expose: Expose = None,
    allow: Allow = None,
    serve: Serve = None,
    allow_call: AllowCall = None,
    rpc: Rpc = None,
    rpc_option: RpcOption = None,
    peer: Peer = None,
    seed: Seed = None,
    deny: Deny = None,
    consent_interval: ConsentInterval = None,
    path_timeout: PathTimeout = None,
    loss_timeout: LossTimeout = None,
    transport: Transport = None,
    transport_option: TransportOption = None,
    deadline: Deadline = None,
    grace: Grace = None,
    connections_per_network: ConnectionsPerNetwork = None,
    state: State = None,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
    log_level: LogLevel = None,
    log_json: LogJson = False,
) -> None:
    """Run a node: expose services to peers, and reach theirs through its proxy.

    Closes in order, with status 0, on SIGINT and SIGTERM.
    """
    flags = {name: value for name, value in locals().items() if name != "config"}
    settings = read(config, flags)
    set_up_logging(settings.log_level, as_json=settings.log_json)
    if settings.serve:
        _import_from_here()
    loop.run(run_node(settings))


def _import_from_here() -> None:
    """Find the services' modules in the current directory, as `python -m` does."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)


async def run_node(config: Config) -> None:
    """A node and its control socket, until a signal, or until the node fails (KeynetError)."""
    stop = stop_event()
    node = Node(config, passphrase=read_passphrase(config.passphrase_file))
    printer = EventPrinter(node.events.subscribe(), as_json=config.json)
    try:
        if not await before(stop, node.start()):
            return
        assert node.state is not None
        control = ControlServer(node.state, verbs(node))
        await control.start()
        try:
            printer.start()
            await before(stop, printer.ended())
        finally:
            await control.aclose()
    finally:
        await node.aclose()
        await printer.aclose()
    if node.failure is not None:
        raise node.failure
