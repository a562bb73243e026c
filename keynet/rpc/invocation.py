"""Calls a method's function with what came over the wire. The innermost link of the chain."""

from __future__ import annotations

from typing import Any

from keynet.rpc.api import Exchange
from keynet.rpc.iteration import closed_after


async def invoke(exchange: Exchange) -> Any:
    """Run the function: give its result, or send its items. Raises whatever it raises."""
    method = exchange.call.method
    made: Any = method(**_arguments(exchange))
    if not method.kind.server_streams:
        return await made
    assert exchange.send is not None, "the binding gave no way to send items"
    async with closed_after(made) as items:
        async for item in items:
            await exchange.send(item)
    return None


def _arguments(exchange: Exchange) -> dict[str, Any]:
    method, params = exchange.call.method, exchange.params
    arguments = {name: getattr(params, name) for name in params.__struct_fields__}
    if method.call_parameter is not None:
        arguments[method.call_parameter] = exchange.call
    if method.items_parameter is not None:
        arguments[method.items_parameter] = exchange.requests
    return arguments
