"""Reading how grpcio names the client of a call, to ask the reverse proxy's audit who it is."""

from __future__ import annotations

from urllib.parse import unquote

from keynet.address import SocketAddress
from keynet.errors import ConfigError
from keynet.rpc.proxy.audit import canonical


def client_address(peer: str) -> SocketAddress | None:
    """The address in `context.peer()`, such as `ipv4:127.0.0.1:5` or `ipv6:%5B::1%5D:5`.

    None when it is none, as with a Unix socket. Hand it to `ReverseProxy.audit.by_client`.
    """
    family, _, address = peer.partition(":")
    if family not in ("ipv4", "ipv6"):
        return None
    try:
        return canonical(SocketAddress.parse(unquote(address)))
    except ConfigError:
        return None
