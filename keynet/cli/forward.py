"""`keynet forward`: local ports that lead to peers' services, through the running node's proxy."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from keynet.address import Authority, NodeId
from keynet.cli import loop
from keynet.cli.signals import stop_event
from keynet.cli.tunnel import Way, listen
from keynet.config import Forward
from keynet.config.values import LocalAddress, is_loopback
from keynet.control import running_node
from keynet.errors import ConfigError
from keynet.rpc.proxy.listener import Listener
from keynet.rpc.proxy.target import builtin_authority


def command(
    forwards: Annotated[
        list[str],
        typer.Argument(
            metavar="LOCAL=NODEID:PORT|PROTOCOL",
            help="LOCAL is PORT (on 127.0.0.1; 0: a free one), HOST:PORT or unix:PATH. "
            "PROTOCOL is one built into the peer, as jsonrpc.",
        ),
    ],
    state: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="State directory of the node (else $KEYNET_STATE)."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print where it listens as JSON, one line each.")
    ] = False,
) -> None:
    """Give programs without proxy support a local port that leads to a peer's service.

    Goes through the proxy of the node that runs with the same state directory. Whoever can
    connect to the local port can use it. Ends with status 0 on SIGINT and SIGTERM.
    """
    wanted = [Forward.parse(text) for text in forwards]
    node = running_node(state)
    if node.proxy is None:
        raise ConfigError("the running node has no proxy: start it with --proxy 127.0.0.1:8080")
    loop.run(_serve(wanted, node.proxy, node.proxy_token, as_json))


async def _serve(
    wanted: list[Forward], proxy: LocalAddress, token: str | None, as_json: bool
) -> None:
    stop = stop_event()
    listeners: list[Listener] = []
    try:
        for forward in wanted:
            way = Way(proxy, token, _authority(forward.node_id, forward.service))
            try:
                listener = await listen(forward.local, way, _failed)
            except ConfigError as error:
                raise ConfigError(f"{error}; choose another LOCAL for {forward}") from error
            listeners.append(listener)
            _told(forward, listener.address, as_json)
        await stop.wait()
    finally:
        for listener in listeners:
            await listener.aclose()


def _authority(node_id: NodeId, service: int | str) -> Authority:
    if isinstance(service, str):
        return builtin_authority(node_id, service)
    return Authority.of_node(node_id, service)


def _told(forward: Forward, local: LocalAddress, as_json: bool) -> None:
    remote = f"{forward.node_id}:{forward.service}"
    if as_json:
        line = json.dumps({"event": "forwarding", "local": str(local), "remote": remote})
    else:
        line = f"{local} leads to {remote}; Ctrl-C ends it"
    print(line, flush=True)
    if not is_loopback(local):
        print(f"keynet: {local} is open to the network, without a password", file=sys.stderr)


def _failed(reason: str) -> None:
    print(f"keynet: a connection got nowhere: {reason}", file=sys.stderr, flush=True)
