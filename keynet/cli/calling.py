"""Calls to a peer by way of the running node: for `keynet call` and `keynet services`."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import typer

from keynet.address import NodeId
from keynet.cli import loop
from keynet.control import call as ask_node
from keynet.control.tunnel import open_tunnel
from keynet.errors import KeynetError, RpcError
from keynet.rpc.client import Client
from keynet.rpc.jsonrpc import channel_over
from keynet.rpc.own_service import SERVICES, ServiceInfo
from keynet.rpc.status import Status, printable, rpc_error

PROTOCOL = "jsonrpc"
"""Every node speaks it."""


@asynccontextmanager
async def client_of(state: Path, node_id: NodeId) -> AsyncIterator[Client]:
    """Calls to that peer, or to the node itself, through the node that runs with `state`."""
    stream = await open_tunnel(state, node_id, PROTOCOL)
    try:
        async with Client(channel_over(stream)) as client:
            yield client
    finally:
        stream.reset()


async def services_of(client: Client) -> list[ServiceInfo]:
    """What may be called there. Raises RpcError."""
    found = await client.call(SERVICES)
    try:
        return msgspec.convert(found, list[ServiceInfo])
    except msgspec.ValidationError as error:
        raise rpc_error(Status.INTERNAL, f"the peer's list of services: {error}") from error


def run(work: Coroutine[Any, Any, None], state: Path, node_id: NodeId, *, as_json: bool) -> None:
    """Run a command's calls; a call that fails is one line on standard error, and status 1."""
    try:
        loop.run(work)
    except RpcError as error:
        message = printable(error.message) + _why(error, state, node_id)
        print(_fault(error, message, as_json), file=sys.stderr)
        raise typer.Exit(1) from error


def shown(value: Any) -> str:
    """A value as one line of JSON that a terminal takes for nothing else."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)


def _fault(error: RpcError, message: str, as_json: bool) -> str:
    status = Status(error.status).name
    if not as_json:
        return f"{status}: {message}"
    details = base64.b64encode(error.details).decode("ascii")
    return json.dumps({"status": status, "message": message, "details": details})


def _why(error: RpcError, state: Path, node_id: NodeId) -> str:
    """What the node knows of a peer that went away; the tunnel's end tells no reason."""
    if error.status != Status.UNAVAILABLE:
        return ""
    try:
        why = ask_node(state, "why", node_id=str(node_id))["trouble"]
    except KeynetError:
        return ""
    return f" ({printable(why)})" if why is not None and why not in error.message else ""
