"""Channels of grpcio to a peer's service, whatever proxy variables the environment holds.

grpcio's own `grpc.http_proxy` option gives way to `no_proxy` in the environment, and then dials
directly, in silence. So a channel's target here is the proxy itself, and what to CONNECT to is
an option of its own: nothing of the environment is asked.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from keynet.address import Authority, NodeId
from keynet.config.values import LocalAddress, UnixPath, service_port
from keynet.errors import ConfigError
from keynet.rpc.proxy.credentials import basic

if TYPE_CHECKING:
    import grpc
    import grpc.aio

ChannelOptions = Sequence[tuple[str, Any]]

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class ProxyNode(Protocol):
    """What a channel must know of this side's node."""

    @property
    def proxy(self) -> LocalAddress | None:
        """Where its forward proxy listens: a TCP address or a Unix socket's path."""

    @property
    def proxy_token(self) -> str | None:
        """What the proxy's clients must show, or None."""


def channel(
    node: ProxyNode,
    node_id: NodeId,
    port: int,
    *,
    options: ChannelOptions = (),
    credentials: grpc.ChannelCredentials | None = None,
) -> grpc.Channel:
    """A `grpc.Channel` to service `port` (1 to 65535) of the peer `node_id`.

    `options` are grpcio's own and win over the ones set here. The way to the peer is encrypted
    and authenticated already: `credentials` are for a server that asks for TLS of its own.
    Nothing is dialled before the first call. Raises ConfigError.
    """
    grpc = grpcio()
    target, settings = _how_to_dial(node, node_id, port, options)
    if credentials is None:
        return grpc.insecure_channel(target, settings)
    return grpc.secure_channel(target, credentials, settings)


def aio_channel(
    node: ProxyNode,
    node_id: NodeId,
    port: int,
    *,
    options: ChannelOptions = (),
    credentials: grpc.ChannelCredentials | None = None,
) -> grpc.aio.Channel:
    """Like `channel`, but a `grpc.aio.Channel`. Call it in the event loop that will use it."""
    grpc = grpcio()
    target, settings = _how_to_dial(node, node_id, port, options)
    if credentials is None:
        return grpc.aio.insecure_channel(target, settings)
    return grpc.aio.secure_channel(target, credentials, settings)


def through_proxy(
    proxy: LocalAddress, token: str | None, authority: Authority
) -> tuple[str, dict[str, Any]]:
    """grpcio's target, which is the proxy, and the options that have it CONNECT to `authority`."""
    settings: dict[str, Any] = {
        "grpc.http_connect_server": str(authority),
        "grpc.enable_http_proxy": 0,
        "grpc.default_authority": str(authority),
    }
    if token is not None:
        settings["grpc.http_connect_headers"] = f"Proxy-Authorization: {basic(token)}"
    return _proxy_target(proxy), settings


def grpcio() -> Any:
    """The package, imported when it is needed. Raises ConfigError when it is not installed.

    Its C core writes to standard error of every dial that fails, and reads how much it may when it
    is loaded: nothing, unless the environment says otherwise, for the caller is told of it.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        import grpc
        import grpc.aio
    except ImportError as error:
        raise ConfigError("grpcio is not installed: pip install 'keynet[grpc]'") from error
    return grpc


def _how_to_dial(
    node: ProxyNode, node_id: NodeId, port: int, options: ChannelOptions
) -> tuple[str, list[tuple[str, Any]]]:
    if node.proxy is None:
        raise ConfigError("this node has no forward proxy: start it with --proxy")
    authority = Authority.of_node(node_id, service_port(str(port)))
    target, settings = through_proxy(node.proxy, node.proxy_token, authority)
    return target, list((settings | dict(options)).items())


def _proxy_target(proxy: LocalAddress) -> str:
    if isinstance(proxy, UnixPath):
        return str(proxy)
    return str(Authority(_WILDCARDS.get(proxy.host, proxy.host), proxy.port))
