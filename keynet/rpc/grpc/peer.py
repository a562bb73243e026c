"""Reading how grpcio names the client of a call, to ask an audit who it is. Without grpcio."""

from __future__ import annotations

from urllib.parse import unquote

from keynet.address import SocketAddress
from keynet.errors import ConfigError
from keynet.identity import PeerIdentity
from keynet.rpc.proxy.audit import Audit, canonical


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


def peer_of(audit: Audit, peer: str) -> PeerIdentity | None:
    """Who calls as the client that `context.peer()` names; None for whom no node leads here."""
    address = client_address(peer)
    return None if address is None else audit.identity_of(address)
