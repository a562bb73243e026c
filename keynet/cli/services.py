"""`keynet services`: what may be called at a peer, by way of the running node."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from keynet.address import NodeId
from keynet.cli.calling import client_of, run, services_of, shown
from keynet.rpc.own_service import MethodInfo
from keynet.rpc.status import printable
from keynet.state import state_dir

MAX_DEPTH = 4
"""How far a type is followed for people."""


def command(
    node: Annotated[str, typer.Argument(metavar="NODEID", help="The peer; or the node's own id.")],
    state: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="State directory of the node (else $KEYNET_STATE)."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON array, with the schemas of all types.")
    ] = False,
) -> None:
    """List what this node may call at a peer: methods, their kinds, parameters and docs."""
    node_id, directory = NodeId.parse(node), state_dir(state)
    run(_list(directory, node_id, as_json), directory, node_id, as_json=as_json)


async def _list(state: Path, node_id: NodeId, as_json: bool) -> None:
    async with client_of(state, node_id) as client:
        found = await services_of(client)
    if as_json:
        print(shown(msgspec.to_builtins(found)))
        return
    for service in found:
        for method in service.methods:
            print("\n".join(_lines(method)))


def _lines(method: MethodInfo) -> Iterator[str]:
    """One method for people: its signature, and its docs below."""
    streamed = f", stream of {_type(method.item)}" if method.item is not None else ""
    way = "stream of " if method.kind in ("server_stream", "duplex") else ""
    params = ", ".join(_parameters(method.params))
    result = f"{way}{_type(method.result)}"
    yield printable(f"{method.name}({params}{streamed}) -> {result}".replace("(, ", "("))
    for line in method.doc.splitlines():
        yield f"    {printable(line)}".rstrip()


def _parameters(schema: dict[str, Any]) -> Iterator[str]:
    fields = _dict(_resolved(schema).get("properties"))
    for name, of in fields.items():
        default = f" = {json.dumps(of['default'])}" if "default" in _dict(of) else ""
        yield f"{name}: {_type(of)}{default}"


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference into the schema's own definitions."""
    name = str(schema.get("$ref")).rpartition("/")[2]
    return _dict(_dict(schema.get("$defs")).get(name, schema))


def _type(schema: Any, depth: int = 0) -> str:
    """A type in a word or two; `--json` has all of it. The peer may have sent anything."""
    known = _dict(schema)
    if depth == MAX_DEPTH:
        return "…"
    if "$ref" in known:
        return str(known["$ref"]).rpartition("/")[2]
    if isinstance(known.get("anyOf"), list):
        return " | ".join(_type(one, depth + 1) for one in known["anyOf"])
    if known.get("type") == "array":
        return f"array of {_type(known.get('items'), depth + 1)}"
    return str(known.get("type", "any"))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
