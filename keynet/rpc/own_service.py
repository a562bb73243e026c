"""The service `keynet`, which every node answers every peer: ping, and what else may be called."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

import msgspec

import keynet
from keynet.address import NodeId
from keynet.identity import PeerIdentity
from keynet.rpc.api import Call
from keynet.rpc.method import Method
from keynet.rpc.service import Service

NAME = "keynet"

SERVICES = f"{NAME}.services"
"""The method that lists what its caller may call."""


class Pong(msgspec.Struct, frozen=True):
    """The answer to a ping."""

    payload: bytes
    """What the ping carried."""
    node_id: str
    version: str
    """Of keynet, on the node that answers."""


class MethodInfo(msgspec.Struct, frozen=True):
    """One method, as its callers need to know it."""

    name: str
    """The full name: `greeter.hello`."""
    kind: str
    """`unary`, `server_stream`, `client_stream` or `duplex`."""
    doc: str
    params: dict[str, Any]
    """JSON schema of the parameters, by name."""
    item: dict[str, Any] | None
    """JSON schema of each item that the client streams; None when it streams none."""
    result: dict[str, Any]
    """JSON schema of the result, or of each item that the server streams."""


class ServiceInfo(msgspec.Struct, frozen=True):
    """One service, and its methods that the asking peer may call."""

    name: str
    methods: list[MethodInfo]


def own_service(
    node_id: Callable[[], NodeId], open_to: Callable[[PeerIdentity], list[Method[..., Any]]]
) -> Service:
    """The service of a node with that (current) id; `open_to` says what a peer may call."""
    answers = _Answers(node_id, open_to)
    service = Service(NAME, public=True)
    service.method(answers.ping)
    service.method(answers.services)
    return service


class _Answers:
    def __init__(
        self,
        node_id: Callable[[], NodeId],
        open_to: Callable[[PeerIdentity], list[Method[..., Any]]],
    ) -> None:
        self._node_id = node_id
        self._open_to = open_to

    async def ping(self, payload: bytes = b"") -> Pong:
        """Answer at once, with the payload, this node's id and keynet's version."""
        return Pong(payload, str(self._node_id()), keynet.__version__)

    async def services(self, call: Call) -> list[ServiceInfo]:
        """List the services and methods that the caller may call."""
        methods = sorted(self._open_to(call.peer), key=lambda one: one.full_name)
        return [
            ServiceInfo(name, [describe(method) for method in of_one])
            for name, of_one in groupby(methods, key=lambda one: one.service)
        ]


def describe(method: Method[..., Any]) -> MethodInfo:
    """What callers need to know of `method`."""
    return MethodInfo(
        method.full_name,
        method.kind.value,
        method.doc,
        schema(method.params),
        schema(method.item) if method.kind.client_streams else None,
        schema(method.result),
    )


def schema(of: Any) -> dict[str, Any]:
    """The JSON schema of a type; the empty one, which takes everything, where none can say it."""
    try:
        return msgspec.json.schema(of)
    except TypeError:  # such as msgspec.Ext
        return {}
