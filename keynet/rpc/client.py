"""What callers hold: the four kinds of calls to one peer, the same over every binding.

    async with Client(binding.connect(network, node_id)) as client:
        print(await client.call(greeter_hello, {"name": "you"}))
        async for n in client.server_stream("counter.count", {"to": 3}):
            print(n)

A method is given as a `Method`, and then calls are typed, or by its name. Every failure of a call
is an RpcError; ConfigError tells of a mistake before anything is sent.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypedDict, TypeVar, Unpack, overload

import msgspec

from keynet.errors import ConfigError
from keynet.rpc.api import (
    UNARY_TIMEOUT,
    Channel,
    ClientCall,
    ClientInterceptor,
    Metadata,
    Request,
)
from keynet.rpc.chain import chain
from keynet.rpc.metadata import checked
from keynet.rpc.method import Kind, Method, untyped
from keynet.rpc.status import Status, rpc_error
from keynet.rpc.streaming import DuplexCall, Items, StreamCall, feed
from keynet.rpc.timed import TimedCall, in_time

T = TypeVar("T")

Params = Mapping[str, Any] | msgspec.Struct
"""Parameters by name, or the method's `params` struct."""

Unary = Method[..., Coroutine[Any, Any, T]]
Streaming = Method[..., AsyncIterable[T]]

NO_PARAMS: Mapping[str, Any] = {}


class Options(TypedDict, total=False):
    """What every verb takes besides the method and its parameters."""

    timeout: float | None
    """Seconds for the whole call, connecting included."""
    metadata: Metadata
    """What to send along."""


class Client:
    """Calls to one peer."""

    def __init__(self, channel: Channel, *, interceptors: Sequence[ClientInterceptor] = ()) -> None:
        """`interceptors` stand around every call, the first one outermost."""
        self._channel = channel
        self._interceptors = tuple(interceptors)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End: calls that run fail with CANCELLED. Idempotent."""
        await self._channel.aclose()

    @overload
    async def call(
        self, method: Unary[T], params: Params = ..., **options: Unpack[Options]
    ) -> T: ...

    @overload
    async def call(self, method: str, params: Params = ..., **options: Unpack[Options]) -> Any: ...

    async def call(
        self,
        method: Method[..., Any] | str,
        params: Params = NO_PARAMS,
        **options: Unpack[Options],
    ) -> Any:
        """Call a method that streams nothing: gives its result, by default within 15 seconds.

        Raises RpcError; ConfigError when the method is of another kind. Cancellable: the peer is
        told.
        """
        request = _request(method, Kind.UNARY, params, **options)
        if request.timeout is None:
            request.timeout = UNARY_TIMEOUT
        call = await self.start(request)
        try:
            return await call.result()
        finally:
            call.cancel()

    @overload
    def server_stream(
        self, method: Streaming[T], params: Params = ..., **options: Unpack[Options]
    ) -> StreamCall[T]: ...

    @overload
    def server_stream(
        self, method: str, params: Params = ..., **options: Unpack[Options]
    ) -> StreamCall[Any]: ...

    def server_stream(
        self,
        method: Method[..., Any] | str,
        params: Params = NO_PARAMS,
        **options: Unpack[Options],
    ) -> StreamCall[Any]:
        """Call a method whose server streams: iterate over what this gives.

        The call begins with the first item that is asked for, or with `async with`. Raises
        ConfigError; iterating raises RpcError.
        """
        request = _request(method, Kind.SERVER_STREAM, params, **options)
        return StreamCall(partial(self.start, request))

    @overload
    async def client_stream(
        self, method: Unary[T], items: Items, params: Params = ..., **options: Unpack[Options]
    ) -> T: ...

    @overload
    async def client_stream(
        self, method: str, items: Items, params: Params = ..., **options: Unpack[Options]
    ) -> Any: ...

    async def client_stream(
        self,
        method: Method[..., Any] | str,
        items: Items,
        params: Params = NO_PARAMS,
        **options: Unpack[Options],
    ) -> Any:
        """Stream `items` to a method and give its result, which may come before the last item;
        a generator is closed then.

        Raises RpcError, ConfigError, and what `items` raises, after the peer was told to stop.
        Cancellable.
        """
        request = _request(method, Kind.CLIENT_STREAM, params, **options)
        return await feed(await self.start(request), items)

    @overload
    def duplex(
        self, method: Streaming[T], params: Params = ..., **options: Unpack[Options]
    ) -> DuplexCall[T]: ...

    @overload
    def duplex(
        self, method: str, params: Params = ..., **options: Unpack[Options]
    ) -> DuplexCall[Any]: ...

    def duplex(
        self,
        method: Method[..., Any] | str,
        params: Params = NO_PARAMS,
        **options: Unpack[Options],
    ) -> DuplexCall[Any]:
        """Call a method with which both sides stream; use what this gives with `async with`.

        Raises ConfigError; entering and using it raise RpcError.
        """
        request = _request(method, Kind.DUPLEX, params, **options)
        return DuplexCall(partial(self.start, request))

    async def start(self, request: Request) -> ClientCall:
        """Begin a call, through the interceptors and with its deadline enforced.

        For whoever wants more than the four verbs give; `cancel` what you do not see to its end.
        """
        began = asyncio.get_running_loop().time()
        begin = chain(self._interceptors, partial(self._begin, began))
        return await in_time(begin(request), _deadline(began, request.timeout))

    async def _begin(self, began: float, request: Request) -> ClientCall:
        """Start `request` as the interceptors left it; what they took counts."""
        now = asyncio.get_running_loop().time()
        deadline = _deadline(began, request.timeout)
        if deadline is not None:
            request = replace(request, timeout=max(0.0, deadline - now))
        call = await in_time(self._channel.start(request), deadline)
        return call if deadline is None else TimedCall(call, deadline)


def _deadline(began: float, timeout: float | None) -> float | None:
    return None if timeout is None else began + timeout


def _request(
    method: Method[..., Any] | str,
    kind: Kind,
    params: Params,
    *,
    timeout: float | None = None,
    metadata: Metadata = (),
) -> Request:
    if isinstance(method, str):
        method = untyped(method, kind)
    if method.kind is not kind:
        raise ConfigError(
            f"{method.full_name} is {method.kind.value}, not {kind.value}: call it as that"
        )
    if timeout is not None and not math.isfinite(timeout):
        raise ConfigError(f"a timeout is a number of seconds, not {timeout}")
    return Request(method, _params(method, params), checked(metadata), timeout)


def _params(method: Method[..., Any], params: Params) -> Any:
    if isinstance(params, method.params):
        return params
    if not isinstance(params, Mapping):
        raise ConfigError(f"{method.full_name} takes its parameters by name, or as its struct")
    try:
        return method.params(**params)
    except TypeError as error:
        raise rpc_error(Status.INVALID_ARGUMENT, f"{method.full_name}: {error}") from error
