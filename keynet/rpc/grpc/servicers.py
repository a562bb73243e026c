"""Protobuf servicers beside the service definitions: users' own, grpcio's health and reflection.

`Servicers` takes the place of the server in the functions that grpcio's compiler makes:

    add_GreeterServicer_to_server(Greeter(), binding.servicers)

Their methods are asynchronous (`async def`). Others count as not implemented, as those do that a
servicer leaves to its generated base class: a service that blocks needs a server of its own,
exposed by its port.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keynet.errors import ConfigError
from keynet.rpc.method import Kind, untyped

if TYPE_CHECKING:
    import grpc


class Servicers:
    """What was added so far; a server looks here at every call, so add while it runs, too."""

    def __init__(self) -> None:
        self._handlers: dict[str, grpc.RpcMethodHandler] = {}

    def services(self, is_open: Callable[[str], bool] = lambda _: True) -> set[str]:
        """Full names, such as `helloworld.Greeter`, of those with a method that `is_open`."""
        return {path.split("/")[1] for path in self._handlers if is_open(method_name(path))}

    def find(self, path: str) -> grpc.RpcMethodHandler | None:
        """The handler of `/package.Service/Method`, or None."""
        return self._handlers.get(path)

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, grpc.RpcMethodHandler]
    ) -> None:
        """What generated code calls with a servicer. Raises ConfigError for an unusable name."""
        self._add({f"/{service_name}/{name}": one for name, one in method_handlers.items()})

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[Any]) -> None:
        """What generated code calls besides, with the same methods."""
        for handler in generic_rpc_handlers:
            self._add(_methods(handler))

    def _add(self, handlers: Mapping[str, grpc.RpcMethodHandler]) -> None:
        for path in handlers:
            untyped(method_name(path), Kind.UNARY)  # for its check of the name
        self._handlers.update(handlers)


def method_name(path: str) -> str:
    """What access rules call the method that gRPC calls `path`: `/a.B/C` is `a.B.C`."""
    return path[1:].replace("/", ".")


def _methods(handler: Any) -> Mapping[str, grpc.RpcMethodHandler]:
    methods = getattr(handler, "_method_handlers", None)
    if not isinstance(methods, Mapping):
        raise ConfigError(
            "a node's gRPC server takes servicers and grpc.method_handlers_generic_handler: "
            "one that finds methods by itself needs a server of its own, exposed by its port"
        )
    return methods
