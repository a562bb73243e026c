"""`keynet call`: one call to a peer, of any kind, by way of the running node."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from keynet.address import NodeId
from keynet.cli.calling import client_of, run, services_of, shown
from keynet.cli.stdin import json_lines
from keynet.errors import ConfigError
from keynet.rpc.api import Metadata
from keynet.rpc.client import Client, Options
from keynet.rpc.metadata import checked
from keynet.rpc.method import Kind
from keynet.rpc.status import Status, rpc_error
from keynet.state import state_dir

MOST_NAMES = 12
"""Methods that an error names."""


def command(
    node: Annotated[str, typer.Argument(metavar="NODEID", help="The peer; or the node's own id.")],
    method: Annotated[str, typer.Argument(metavar="SERVICE.METHOD")],
    params: Annotated[
        str, typer.Argument(metavar="JSON", help="Its parameters: an object, by name.")
    ] = "{}",
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="For the call. \\[default: 15 when nobody streams]"),
    ] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="To send along.")
    ] = None,
    kind: Annotated[
        Kind | None,
        typer.Option(metavar="KIND", help="unary, server_stream, …; else the peer is asked."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="State directory of the node (else $KEYNET_STATE)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Errors as JSON, too.")] = False,
) -> None:
    """Call a method of a peer, and print what it gives: JSON, one value a line.

    A method that takes a stream takes it from standard input: JSON, one value a line.

    A call that fails is told in one line, STATUS: message, and ends with exit status 1.
    """
    node_id, directory = NodeId.parse(node), state_dir(state)
    options = Options(timeout=_timeout(timeout), metadata=_metadata(metadata or []))
    work = _call(directory, node_id, method, _params(params), kind, options)
    run(work, directory, node_id, as_json=as_json)


async def _call(
    state: Path,
    node_id: NodeId,
    method: str,
    params: dict[str, Any],
    kind: Kind | None,
    options: Options,
) -> None:
    async with client_of(state, node_id) as client:
        match kind or await _kind_of(client, method):
            case Kind.UNARY:
                _print(await client.call(method, params, **options))
            case Kind.SERVER_STREAM:
                async for item in client.server_stream(method, params, **options):
                    _print(item)
            case Kind.CLIENT_STREAM:
                _print(await client.client_stream(method, json_lines(), params, **options))
            case Kind.DUPLEX:
                await _duplex(client, method, params, options)


async def _duplex(client: Client, method: str, params: dict[str, Any], options: Options) -> None:
    async with client.duplex(method, params, **options) as call:

        async def send() -> None:
            async for item in json_lines():
                await call.send(item)
            await call.finish_sending()

        async def receive() -> None:
            async for item in call:
                _print(item)

        sending, receiving = asyncio.ensure_future(send()), asyncio.ensure_future(receive())
        try:
            await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
            await receiving
        finally:
            sending.cancel()
            receiving.cancel()
            await asyncio.gather(sending, receiving, return_exceptions=True)


async def _kind_of(client: Client, method: str) -> Kind:
    known = {one.name: one.kind for service in await services_of(client) for one in service.methods}
    if method not in known:
        names = sorted(known)
        there = ", ".join(names[:MOST_NAMES]) + (", …" if len(names) > MOST_NAMES else "")
        raise rpc_error(
            Status.UNIMPLEMENTED, f"you may call no {method} there, but {there or 'nothing'}"
        )
    return Kind(known[method])


def _print(value: Any) -> None:
    print(shown(value), flush=True)


def _params(text: str) -> dict[str, Any]:
    try:
        params = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the parameters are not JSON: {error}") from error
    if not isinstance(params, dict):
        raise ConfigError('the parameters are a JSON object, by name: \'{"name": "you"}\'')
    return params


def _timeout(seconds: float | None) -> float | None:
    if seconds is not None and not 0 < seconds <= 1e9:
        raise ConfigError(f"--timeout takes a number of seconds above 0, not {seconds:g}")
    return seconds


def _metadata(given: list[str]) -> Metadata:
    pairs = [text.partition("=") for text in given]
    for key, equals, _ in pairs:
        if not equals:
            raise ConfigError(f"--metadata takes KEY=VALUE, not {key!r}")
    return checked(tuple((key, value) for key, _, value in pairs))
