"""Which peers a relay lets its clients reach: the internet, not what is around the relay. Pure.

A relay stands inside somebody's network. Through it nobody reaches loopback, link-local or private
addresses, multicast, or an IPv4 address of that kind that is written as IPv6.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from keynet.errors import ConfigError


class Reach:
    """The rule, and the exceptions from it."""

    def __init__(self, allowed: Iterable[str] = (), denied: Iterable[str] = ()) -> None:
        """`allowed` are networks that may be reached all the same, `denied` more that may not.

        Raises ConfigError for what is no network.
        """
        try:
            self._allowed = [ipaddress.ip_network(one) for one in allowed]
            self._denied = [ipaddress.ip_network(one) for one in denied]
        except ValueError as error:
            raise ConfigError(f"a relay's networks are written like 10.0.0.0/8: {error}") from error

    def permits(self, host: str) -> bool:
        """Whether clients may send to a numeric host, and get data from it."""
        address = ipaddress.ip_address(host)
        if any(address in network for network in self._denied):
            return False
        return self.names(host) or _is_public(address)

    def names(self, host: str) -> bool:
        """Whether a numeric host is allowed by name, whatever it is."""
        address = ipaddress.ip_address(host)
        return any(address in network for network in self._allowed)


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """IPv4 addresses in IPv6 ones are reserved (mapped ones and NAT64's), or looked at (6to4's)."""
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return True
    inner = address.sixtofour
    return not address.is_site_local and (inner is None or _is_public(inner))
