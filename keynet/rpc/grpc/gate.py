"""Who is at the other end of a gRPC call: decided by the connection alone, before anything runs.

The server listens on a port of this machine, to which every local program can connect. What did
not come through the reverse proxy has no peer, and is refused whatever it asks for. Metadata says
nothing about identity.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, aclosing
from typing import Any, TypeAlias

import grpc
import grpc.aio

from keynet.errors import RpcError
from keynet.identity import PeerIdentity
from keynet.rpc.api import Call, Dispatch
from keynet.rpc.dispatch import FAILED
from keynet.rpc.grpc.metadata import outgoing
from keynet.rpc.grpc.names import NAME
from keynet.rpc.grpc.peer import peer_of
from keynet.rpc.grpc.status import grpc_code
from keynet.rpc.proxy.audit import Audit
from keynet.rpc.status import Status, rpc_error

log = logging.getLogger(__name__)

Context: TypeAlias = grpc.aio.ServicerContext
Handler: TypeAlias = grpc.RpcMethodHandler
Behaviour = Callable[..., Any]

KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")

_STRANGER = (
    "this server answers peers of its node only: call it through a node of your own, by its node id"
)


class Gate:
    """Knows the peers behind the server's connections, and lets their calls in."""

    def __init__(self, audit: Audit, dispatch: Dispatch) -> None:
        self._audit = audit
        self._dispatch = dispatch

    def identify(self, context: Context) -> PeerIdentity:
        """The peer that makes this call. Raises RpcError, UNAUTHENTICATED, when it is none."""
        peer = peer_of(self._audit, context.peer())
        if peer is None:
            raise rpc_error(Status.UNAUTHENTICATED, _STRANGER)
        return peer

    def guard(self, handler: Handler, name: str) -> Handler:
        """`handler`, of a user's servicer, behind access rules and limits for method `name`.

        Not even a request is parsed of whom the gate keeps out.
        """
        kind, inner = next((kind, one) for kind in KINDS if (one := getattr(handler, kind)))
        if not _is_asynchronous(inner):
            inner = _unimplemented
        make: Callable[..., Handler] = getattr(grpc, f"{kind}_rpc_method_handler")
        if handler.request_streaming:  # read, and so parsed, by the inner one
            guarded = self._guarded(inner, name, _as_it_is)
            return make(guarded, handler.request_deserializer, handler.response_serializer)
        parse = handler.request_deserializer or _as_it_is
        return make(self._guarded(inner, name, parse), None, handler.response_serializer)

    def _guarded(self, inner: Behaviour, name: str, parse: Callable[[Any], Any]) -> Behaviour:
        async def one(request: Any, context: Context) -> Any:
            return await inner(_parsed(request, parse), context)

        async def stream(request: Any, context: Context) -> None:
            """No generator: grpcio would leave it, and the slot, to the garbage collector."""
            async with aclosing(inner(_parsed(request, parse), context)) as replies:
                async for reply in replies:
                    await context.write(reply)

        answer = stream if inspect.isasyncgenfunction(inner) else one

        async def guarded(request: Any, context: Context) -> Any:
            try:
                with self._admitted(name, context):
                    return await answer(request, context)
            except RpcError as error:
                await abort(context, error)
            except grpc.aio.BaseError:  # the servicer's own `abort`, among others
                raise
            except Exception:
                log.exception("%s failed", name)
                await abort(context, _told_by(context))

        return guarded

    def _admitted(self, name: str, context: Context) -> AbstractContextManager[Call]:
        return self._dispatch.admit_foreign(name, self.identify(context), binding=NAME)


def _is_asynchronous(behaviour: Behaviour) -> bool:
    return inspect.iscoroutinefunction(behaviour) or inspect.isasyncgenfunction(behaviour)


async def _unimplemented(_: object, context: Context) -> None:
    """In place of what would block the node, as generated base classes do."""
    raise rpc_error(Status.UNIMPLEMENTED, "this method is not implemented with `async def`")


async def abort(
    context: Context, error: RpcError, metadata: list[tuple[str, str]] | None = None
) -> None:
    """End the call with `error`. Raises grpcio's AbortError, which is to reach grpcio."""
    trailers = outgoing(metadata or (), error.details)
    await context.abort(grpc_code(error.status), error.message, trailers)


def _told_by(context: Context) -> RpcError:
    """What a servicer that raised said of its status before; grpcio would add what it raised."""
    code = context.code()
    status = Status.UNKNOWN if code in (None, grpc.StatusCode.OK) else Status(code.value[0])
    return rpc_error(status, context.details() or FAILED)


def _as_it_is(request: Any) -> Any:
    return request


def _parsed(request: Any, parse: Callable[[Any], Any]) -> Any:
    try:
        return parse(request)
    except Exception as error:  # of whatever class the user's encoding has
        raise rpc_error(Status.INVALID_ARGUMENT, "the request cannot be parsed") from error
