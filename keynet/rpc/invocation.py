"""Calls a method's function with what came over the wire. The innermost link of the chain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from keynet.rpc.api import Exchange, Send


async def invoke(exchange: Exchange) -> Any:
    """Run the function: give its result, or send its items. Raises whatever it raises."""
    method = exchange.call.method
    made: Any = method(**_arguments(exchange))
    if not method.kind.server_streams:
        return await made
    assert exchange.send is not None, "the binding gave no way to send items"
    return await _send_all(aiter(made), exchange.send)


def _arguments(exchange: Exchange) -> dict[str, Any]:
    method, params = exchange.call.method, exchange.params
    arguments = {name: getattr(params, name) for name in params.__struct_fields__}
    if method.call_parameter is not None:
        arguments[method.call_parameter] = exchange.call
    if method.items_parameter is not None:
        arguments[method.items_parameter] = exchange.requests
    return arguments


async def _send_all(items: AsyncIterator[Any], send: Send) -> None:
    try:
        async for item in items:
            await send(item)
    finally:
        aclose = getattr(items, "aclose", None)  # generators have it, other iterators need not
        if aclose is not None:
            await aclose()
