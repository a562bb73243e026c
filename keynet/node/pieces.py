"""From settings to the pieces that a node is made of: sockets, transports, access tables.

How they are joined is `node.py`'s.
"""

from __future__ import annotations

import logging
from typing import Literal

from keynet import plugins
from keynet.address import NodeId, SocketAddress
from keynet.config import Allow, AllowCalls, Config
from keynet.discovery.interfaces import host_addresses
from keynet.errors import ConfigError
from keynet.rpc.access import CallAccess
from keynet.rpc.proxy.services import Access
from keynet.signalling.settings import LinkSettings
from keynet.transport.api import GROUP, Transport
from keynet.udp.api import Endpoint
from keynet.udp.endpoint import bind

BUILT_IN_TRANSPORT = "utp"
"""Always there beside the transport that was chosen, for signalling."""

EVERY_FAMILY = (SocketAddress("0.0.0.0", 0), SocketAddress("::", 0))

log = logging.getLogger(__name__)


async def bind_sockets(listen: tuple[SocketAddress, ...]) -> Endpoint:
    """UDP sockets on `listen`; on a free port of each family when it is empty.

    Raises ConfigError.
    """
    if listen:
        try:
            return await bind(listen)
        except OSError as error:
            wanted = ", ".join(str(address) for address in listen)
            raise ConfigError(
                f"cannot listen on UDP {wanted}: {error.strerror or error}; "
                "choose another address or port with --listen"
            ) from error
    try:
        return await bind(EVERY_FAMILY)
    except OSError as error:
        log.info("no IPv6 here (%s): listening on IPv4 only", error)
        return await bind(EVERY_FAMILY[:1])


def transports_of(config: Config) -> list[Transport]:
    """The chosen transport first; the built-in one beside it. Raises ConfigError, PluginError."""
    options: dict[str, object] = dict(config.transport_option)
    chosen = plugins.create(GROUP, config.transport, Transport, **options)
    if config.transport == BUILT_IN_TRANSPORT:
        return [chosen]
    return [chosen, plugins.create(GROUP, BUILT_IN_TRANSPORT, Transport)]


def link_settings(config: Config) -> LinkSettings:
    """How links are held and given up. Raises ConfigError when the settings contradict."""
    return LinkSettings(
        consent_interval=config.consent_interval,
        path_timeout=config.path_timeout,
        loss_timeout=config.loss_timeout,
    )


def seed_lines(node_id: NodeId, endpoint: Endpoint) -> tuple[str, ...]:
    """What other nodes take for --seed, to choose from."""
    return tuple(f"{node_id}@{address}" for address in host_addresses(endpoint.addresses))


def access(config: Config) -> Access:
    """Who may reach which exposed services."""
    anyone = config.allow == "any"
    return Access(() if config.allow == "any" else config.allow, anyone=anyone)


def call_access(config: Config) -> CallAccess:
    """Who may call which methods."""
    anyone = config.allow_call == "any"
    return CallAccess(() if config.allow_call == "any" else config.allow_call, anyone=anyone)


def written(
    allow: tuple[Allow, ...] | tuple[AllowCalls, ...] | Literal["any"],
) -> tuple[str, ...]:
    """Access rules as the setting is written."""
    return (allow,) if isinstance(allow, str) else tuple(str(rule) for rule in allow)
