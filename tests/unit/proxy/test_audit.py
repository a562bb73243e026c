"""Who is behind which running connection."""

from __future__ import annotations

import pytest

from keynet.address import NodeId, SocketAddress
from keynet.identity import Identity
from keynet.rpc.proxy.audit import Audit, canonical, socket_address
from keynet.rpc.proxy.pipe import Traffic
from keynet.rpc.proxy.tcp import TcpEnd, receive_buffer
from keynet.testing.streams import connected

CLIENT = SocketAddress("127.0.0.1", 40000)


async def test_a_running_connection_is_found_by_client_and_by_any_id_of_the_peer() -> None:
    audit, traffic = Audit(), Traffic()
    old = Identity.generate()
    peer = old.rotate()
    near, _ = connected(Identity.generate(), peer)
    stream = await near.open_stream()
    with audit.running(stream, old.node_id, 80, CLIENT, traffic):
        traffic.to_peer += 3
        (found,) = audit.connections()
        assert found.peer == peer.node_id
        assert found.matched == old.node_id
        assert found.lineage == (peer.node_id, old.node_id)
        assert found.certificates.count("BEGIN CERTIFICATE") == 2
        assert (found.remote, found.local) == (near.remote, near.local)
        assert (found.transport, found.service, found.client) == ("memory", 80, CLIENT)
        assert (found.bytes_to_peer, found.bytes_from_peer) == (3, 0)
        assert audit.by_client(CLIENT) == found
        assert audit.by_client(SocketAddress("::ffff:127.0.0.1", 40000)) == found
        assert audit.by_client(SocketAddress("127.0.0.1", 40001)) is None
        assert audit.by_peer(old.node_id) == audit.by_peer(peer.node_id) == (found,)
        assert audit.by_peer(NodeId(bytes(32))) == ()
    assert audit.connections() == ()
    assert audit.by_client(CLIENT) is None


async def test_a_reused_client_address_is_the_newer_connections() -> None:
    audit = Audit()
    near, _ = connected(Identity.generate(), Identity.generate())
    stream, peer = await near.open_stream(), near.peer.node_id
    first = audit.running(stream, peer, 1, CLIENT, Traffic())
    second = audit.running(stream, peer, 2, CLIENT, Traffic())
    first.__enter__()
    with second:
        first.__exit__(None, None, None)
        found = audit.by_client(CLIENT)
        assert found is not None
        assert found.service == 2
    assert len(audit) == 0


async def test_the_port_of_a_local_connection_that_is_gone_is_nobodys() -> None:
    """The stream may still carry its last bytes; another program may have the port by then."""
    audit = Audit()
    near, _ = connected(Identity.generate(), Identity.generate())
    stream = await near.open_stream()
    end = TcpEnd(receive_buffer())
    with audit.running(stream, near.peer.node_id, 80, CLIENT, Traffic(), end):
        assert audit.identity_of(CLIENT) == near.peer
        end.connection_lost(None)
        assert audit.identity_of(CLIENT) is None
        assert audit.by_client(CLIENT) is None
        assert len(audit.connections()) == 1


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (("127.0.0.1", 5), SocketAddress("127.0.0.1", 5)),
        (("::1", 5, 0, 0), SocketAddress("::1", 5)),
        (("::ffff:10.0.0.1", 5, 0, 0), SocketAddress("10.0.0.1", 5)),
        ("/run/socket", None),
        ("", None),
        (None, None),
    ],
)
def test_socket_names(name: object, address: SocketAddress | None) -> None:
    assert socket_address(name) == address


def test_canonical_leaves_real_ipv6_alone() -> None:
    assert canonical(SocketAddress("2001:DB8::1", 5)) == SocketAddress("2001:db8::1", 5)
