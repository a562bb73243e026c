"""A node's signalling, put together: seeds, offers, paths; and being a seed, when it is one.

Everything here is wiring: what passes is `keynet.signalling`'s, how it is called `seeding.py`'s,
how paths are opened `meeting.py`'s.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Sequence

from keynet.address import NodeId, SocketAddress
from keynet.config import Config
from keynet.discovery.interfaces import host_addresses
from keynet.discovery.reflector import Reflector
from keynet.discovery.reflexive import Mapping, mapping_of
from keynet.identity import Identity, PeerIdentity
from keynet.node.events import (
    ConnectionLost,
    ConnectionOpened,
    NodeEvent,
    PathChanged,
    PeerHeard,
    PeerSilent,
    SeedChanged,
)
from keynet.node.meeting import Meeting
from keynet.node.seeding import SeedClient, deliver, member_service, seed_service
from keynet.node.statics import Statics, keep_pinging
from keynet.rpc.client import Client
from keynet.rpc.proxy.services import Access
from keynet.rpc.service import Service
from keynet.signalling.link import Link
from keynet.signalling.link_events import (
    LinkEvent,
    LinkRecovered,
    MappingChanged,
    PathSelected,
    PunchWanted,
)
from keynet.signalling.membership import Member, Membership
from keynet.signalling.messages import sign_registration
from keynet.signalling.registry import MemoryRegistry
from keynet.signalling.seed import Seed
from keynet.transport.host import Host
from keynet.udp.api import Endpoint

SIGNALLING_BINDING = "jsonrpc"
"""What seeds and members speak, whatever else they run."""


class Signalling:
    """The signalling of one node. `start` it when RPC runs; close it before."""

    def __init__(
        self,
        config: Config,
        host: Host,
        endpoint: Endpoint,
        access: Access,
        statics: Statics,
        client: Callable[[NodeId, str], Client],
        publish: Callable[[NodeEvent], None],
    ) -> None:
        """`client` makes RPC clients by peer and binding."""
        self.denied = set(config.deny)
        """Nodes that are not served at all; may be changed at any time."""
        self.seed: Seed | None = None
        """The node's own functions as a seed, when it is one."""
        self.reflector: Reflector | None = None
        """What a seed tells strangers with."""
        self._host = host
        self._local = endpoint.addresses
        self._alternate = config.alternate
        self._access = access
        self._client = client
        self._publish = publish
        self._statics = statics
        self._seeds = {
            peer.node_id: SeedClient(peer.node_id, client(peer.node_id, SIGNALLING_BINDING))
            for peer in config.seed
        }
        self._members: list[Member] = []
        self._connected: set[NodeId] = set()
        self._pinging: asyncio.Task[None] | None = None
        self.meeting = Meeting(
            host.links,
            lambda: host.identity,
            self._local,
            self._registered,
            lambda: tuple(self.observed.values()),
            trusts=self._trusts,
            admits=self._refusal,
            transports=host.transports,
        )
        """Opens paths, answers offers, and knows why a peer is not reached."""
        if config.seeding:
            self.seed = Seed(MemoryRegistry(), self._deliver, self._round_trip)
            self.seed.denied = self.denied
            self.reflector = Reflector(endpoint)

    @property
    def services(self) -> list[Service]:
        """What peers call: every node's deliveries, and a seed's own functions."""
        services = [member_service(self.meeting.answer)]
        if self.seed is not None:
            services.append(seed_service(self.seed, self._remote_of))
        return services

    @property
    def memberships(self) -> tuple[Membership, ...]:
        """What is known of each seed now."""
        return tuple(member.membership for member in self._members)

    @property
    def observed(self) -> dict[NodeId, SocketAddress]:
        """By seed, this node's address as that sees it: the latest pong knows best."""
        seen = {}
        for one in self.memberships:
            link = self._host.links.get(one.seed)
            state = link.in_use if link is not None else None
            address = (state.mapped if state is not None else None) or one.observed
            if address is not None:
                seen[one.seed] = address
        return seen

    def mapping(self, *, ipv6: bool = False) -> Mapping:
        """How this node's NAT maps, as far as seeds have shown."""
        seen = (one for one in self.observed.values() if one.is_ipv6 is ipv6)
        return mapping_of(seen, host_addresses(self._local))

    async def start(self) -> None:
        """Register at every seed, begin to ping static peers, be a seed.

        Raises ConfigError when the seed's further sockets cannot be opened.
        """
        if self.reflector is not None:
            if self._alternate is not None:
                await self.reflector.open(self._alternate)
            self._host.links.asked = self.reflector.asked
        self._host.link_watchers += [self.meeting.told, self._told]
        for client in self._seeds.values():
            member = Member(client, self._registration, self._membership_changed)
            self._members.append(member)
            member.start()
        pinging = keep_pinging(self._statics, self._host.links, self.meeting.punch)
        self._pinging = asyncio.create_task(pinging, name="ping static peers")

    async def aclose(self) -> None:
        """Leave the seeds, and stop. Idempotent."""
        if self.reflector is not None:
            self.reflector.close()
        if self._pinging is not None:
            self._pinging.cancel()
            await asyncio.gather(self._pinging, return_exceptions=True)
        await asyncio.gather(*(member.aclose() for member in self._members))
        await self.meeting.aclose()

    def refuses(self, peer: PeerIdentity) -> bool:
        """Whether a peer is denied, by any of its ids."""
        return not self.denied.isdisjoint(peer.lineage)

    def note(self, event: NodeEvent) -> None:
        """A seed that is lost has lost this node's registration, too: register again at once."""
        if isinstance(event, ConnectionOpened):
            self._connected.add(event.peer)
        elif isinstance(event, ConnectionLost):
            known = self._host.connection  # by then an id may have been followed by another
            self._connected = {one for one in self._connected if known(one) is not None}
            for member in self._members:
                if member.membership.seed == event.peer:
                    member.renew()

    def identity_changed(self) -> None:
        """Register anew: seeds and peers are to see the newest chain."""
        for member in self._members:
            member.renew()

    # For members and meetings.

    def _registered(self) -> Sequence[SeedClient]:
        """Seeds to ask: those first that have registered this node."""
        standing = {one.seed: one.registered for one in self.memberships}
        return sorted(self._seeds.values(), key=lambda one: not standing.get(one.seed))

    def _registration(self) -> bytes:
        identity: Identity = self._host.identity
        nonce = self.meeting.answering.nonces.current(asyncio.get_running_loop().time())
        return sign_registration(identity, nonce)

    def _membership_changed(self, membership: Membership) -> None:
        self._publish(
            SeedChanged(
                membership.seed, membership.registered, membership.observed, membership.error
            )
        )

    def _trusts(self, peer: PeerIdentity) -> bool:
        """Named by an access rule; `any` names nobody."""
        return any(rule.node_id in peer.lineage for rule in self._access)

    def _refusal(self, peer: PeerIdentity) -> str | None:
        return "this node denies you" if self.refuses(peer) else None

    # For the seed.

    async def _deliver(self, to: PeerIdentity, sealed: bytes, wait: float) -> bytes:
        """Over the connection that there is, which may know the member by an earlier id."""
        connected = (one for one in to.lineage if self._host.connection(one) is not None)
        client = self._client(next(connected, to.node_id), SIGNALLING_BINDING)
        return await deliver(client, sealed, wait)

    def _remote_of(self, node_id: NodeId) -> SocketAddress | None:
        connection = self._host.connection(node_id)
        return connection.remote if connection is not None else None

    def _round_trip(self, node_id: NodeId) -> float | None:
        link = self._host.links.get(node_id)
        return link.rtt if link is not None else None

    # What links tell.

    def _told(self, link: Link, event: LinkEvent) -> None:
        connected = self._is_connected(link)
        match event:
            case PathSelected(path, _, rtt):
                self._host.links.network_down(None)
                if connected:  # else ConnectionOpened will tell
                    self._publish(PathChanged(link.peer, path.remote, rtt))
            case PunchWanted(reason) if connected:
                self._publish(PeerSilent(link.peer, reason))
                self._host.links.network_down(self._own_fault())
                for seed in self._seeds:  # is it this node that has moved?
                    asyncio.get_running_loop().call_soon(self._host.links.ask_now, seed)
            case MappingChanged() if self._is_seeds(link):
                self._moved()
            case LinkRecovered(_, silence):
                self._host.links.network_down(None)
                self._publish(PeerHeard(link.peer, silence))

    def _is_connected(self, link: Link) -> bool:
        connection = self._host.connection(link.peer)
        ids = connection.peer.lineage if connection is not None else (link.peer,)
        return not self._connected.isdisjoint(ids)

    def _is_seeds(self, link: Link) -> bool:
        return any(self._host.links.get(seed) is link for seed in self._seeds)

    def _moved(self) -> None:
        """This node's address from outside has changed: seeds and silent peers must know."""
        for member in self._members:
            member.renew()
        for link in self._host.links:
            if link.alarmed and not self._is_seeds(link):
                self.meeting.punch_again(link.peer)

    def _own_fault(self) -> str | None:
        """Why it is this node's network that is down; None when it is not, as far as is known."""
        anywhere = any(ipaddress.ip_address(one.host).is_unspecified for one in self._local)
        if anywhere and not host_addresses(self._local):
            return "no interface has an address"
        links = [link for link in self._host.links if link.path is not None]
        if len(links) > 1 and all(link.alarmed for link in links):
            return f"none of {len(links)} peers and seeds is heard"
        return None
