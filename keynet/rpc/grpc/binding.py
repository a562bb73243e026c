"""What the entry point `grpc` of the group `keynet.rpc` gives: the ways to make channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keynet.rpc.grpc.channel import aio_channel, channel

if TYPE_CHECKING:
    import grpc
    import grpc.aio


@dataclass(frozen=True, slots=True)
class Binding:
    """gRPC as a node's RPC: channels to peers' services, made by grpcio."""

    name: str = "grpc"
    channel: Callable[..., grpc.Channel] = channel
    """`keynet.rpc.grpc.channel`"""
    aio_channel: Callable[..., grpc.aio.Channel] = aio_channel
    """`keynet.rpc.grpc.aio_channel`"""


def binding() -> Binding:
    """The factory behind the entry point. grpcio is not imported before a channel is made."""
    return Binding()
