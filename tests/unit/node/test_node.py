"""The composed node: the whole path, its events, its state directory, its ends."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from keynet.config import Config
from keynet.errors import (
    ConfigError,
    KeynetError,
    LocalProtocolError,
    LookupFailed,
    PluginNotFound,
    UnclaimedNodeId,
)
from keynet.identity import Identity
from keynet.node import (
    ConnectionLost,
    ConnectionOpened,
    DialFailed,
    IdentityChanged,
    Node,
    NodeEvent,
    Ready,
    Stopped,
    StreamRefused,
    StreamServed,
)

from .conftest import MakeNode, at, connect_through, echoed, settings


async def test_the_whole_path(make_node: MakeNode, echo_port: int) -> None:
    behind = await make_node(expose=[f"7=127.0.0.1:{echo_port}"], allow=["any"])
    front = await make_node(proxy="127.0.0.1:0", peer=[at(behind)])
    blob = bytes(range(256)) * 4000
    assert await echoed(front, behind.node_id, 7, blob) == blob
    assert await echoed(front, behind.node_id, 7) == b"hello"
    assert len(front.host.connections) == 1, "a live connection is reused"


async def test_nobody_is_let_in_by_default(make_node: MakeNode, echo_port: int) -> None:
    behind = await make_node(expose=[f"7=127.0.0.1:{echo_port}"])
    front = await make_node(proxy="127.0.0.1:0", peer=[at(behind)])
    events = behind.events.subscribe()
    status, _, writer = await connect_through(front, behind.node_id, 7)
    writer.close()
    assert status == 403
    assert isinstance(await anext(events), ConnectionOpened)
    reason = "this node does not let you in to that service"
    assert await anext(events) == StreamRefused(front.node_id, 7, 403, reason)
    events.close()


async def test_either_side_may_open_streams(make_node: MakeNode, echo_port: int) -> None:
    """Bidirectional: the node that was dialled reaches back over the same connection."""
    one = await make_node(proxy="127.0.0.1:0", expose=[f"7=127.0.0.1:{echo_port}"], allow=["any"])
    two = await make_node(
        proxy="127.0.0.1:0", expose=[f"8=127.0.0.1:{echo_port}"], allow=["any"], peer=[at(one)]
    )
    assert await echoed(two, one.node_id, 7) == b"hello"
    assert await echoed(one, two.node_id, 8) == b"hello", "one knows no address of two"
    assert len(one.host.connections) == len(two.host.connections) == 1


async def test_events_in_order(make_node: MakeNode, echo_port: int) -> None:
    behind = await make_node(expose=[f"7=127.0.0.1:{echo_port}"], allow=["any"])
    of_behind = behind.events.subscribe()
    front = Node(settings(proxy="127.0.0.1:0", peer=[at(behind)]), identity=Identity.generate())
    of_front = front.events.subscribe()
    async with front:
        await echoed(front, behind.node_id, 7)
        own, address = front.node_id, front.endpoint.addresses[0]
        proxy = str(front.proxy)
    seen = [event async for event in of_front]
    assert seen[0] == Ready(own, (address,), proxy, {}, (), ("keynet", "signalling"))
    opened = seen[1]
    assert isinstance(opened, ConnectionOpened)
    assert (opened.peer, opened.dialed, opened.transport) == (behind.node_id, True, "utp")
    assert opened.seconds is not None
    assert 0 < opened.seconds < 10
    assert seen[2:] == [ConnectionLost(behind.node_id, None), Stopped(None)]

    answered = await anext(of_behind)
    assert answered == ConnectionOpened(own, "utp", address, False, None)
    served = await anext(of_behind)
    assert isinstance(served, StreamServed)
    assert (served.peer, served.service, served.reason) == (own, 7, None)
    assert served.bytes_from_peer == served.bytes_to_peer == len(b"hello")
    of_behind.close()


async def test_audit_says_who_is_behind_a_local_connection(
    make_node: MakeNode, echo_port: int
) -> None:
    behind = await make_node(expose=[f"7=127.0.0.1:{echo_port}"], allow=["any"])
    front = await make_node(proxy="127.0.0.1:0", peer=[at(behind)])
    _, reader, writer = await connect_through(front, behind.node_id, 7)
    writer.write(b"x")
    await reader.readexactly(1)
    (one,) = behind.reverse_proxy.audit.connections()
    assert (one.peer, one.remote, one.service) == (
        front.node_id,
        front.endpoint.addresses[0],
        7,
    )
    assert one.client is not None
    assert behind.reverse_proxy.audit.by_client(one.client) is not None
    (other,) = front.forward_proxy.audit.by_peer(behind.node_id)
    assert other.local == front.endpoint.addresses[0]
    writer.close()


async def test_connect_gives_the_open_connection(make_node: MakeNode) -> None:
    one = await make_node()
    two = await make_node()
    connection = await two.connect(one.node_id, one.endpoint.addresses[0])
    assert await two.connect(one.node_id) is connection
    assert connection.peer.node_id == one.node_id


async def test_a_node_nobody_knows(make_node: MakeNode) -> None:
    node = await make_node()
    events = node.events.subscribe()
    stranger = Identity.generate().node_id
    with pytest.raises(LookupFailed, match=f"--peer {stranger}@HOST:PORT"):
        await node.connect(stranger)
    failed = await anext(events)
    assert isinstance(failed, DialFailed)
    assert failed.peer == stranger


async def test_another_node_at_the_address(make_node: MakeNode) -> None:
    one, two = await make_node(), await make_node()
    with pytest.raises(KeynetError) as caught:
        await two.connect(Identity.generate().node_id, one.endpoint.addresses[0])
    causes = (caught.value, caught.value.__cause__)
    assert any(isinstance(cause, UnclaimedNodeId) for cause in causes)


async def test_a_unix_socket_proxy_needs_no_token(
    make_node: MakeNode, echo_port: int, tmp_path: Path
) -> None:
    behind = await make_node(expose=[f"7=127.0.0.1:{echo_port}"], allow=["any"])
    path = tmp_path / "p"
    front = await make_node(proxy=f"unix:{path}", peer=[at(behind)])
    assert front.proxy_token is None
    assert path.stat().st_mode & 0o777 == 0o600
    assert await echoed(front, behind.node_id, 7) == b"hello"


async def test_rotation_keeps_the_old_id_reachable(make_node: MakeNode, echo_port: int) -> None:
    behind = await make_node(expose=[f"7=127.0.0.1:{echo_port}"], allow=["any"])
    old = behind.node_id
    front = await make_node(proxy="127.0.0.1:0", peer=[at(behind)])
    events = behind.events.subscribe()
    new = await behind.rotate()
    assert new == behind.node_id != old
    assert await anext(events) == IdentityChanged(new, True)
    assert await echoed(front, old, 7) == b"hello"
    assert front.host.connections[0].peer.lineage == (new, old)
    assert await echoed(front, new, 7) == b"hello", "it is known under both ids now"


async def test_the_certificate_is_renewed_when_due(isolated_state: Path) -> None:
    async with Node(settings(state=isolated_state)) as node:
        first = node.identity
        events = node.events.subscribe()
        await node.renew_if_due(datetime.now(UTC) + timedelta(days=100))
        assert node.identity is first
        await node.renew_if_due(datetime.now(UTC) + timedelta(days=300))
        assert node.node_id == first.node_id
        assert node.identity.expires_at > first.expires_at
        assert await anext(events) == IdentityChanged(first.node_id, False)
        renewed = node.identity.expires_at
    async with Node(settings(state=isolated_state)) as node:
        assert node.identity.expires_at == renewed, "it was kept"


async def test_the_state_directory_is_kept_and_locked(isolated_state: Path) -> None:
    flags = settings(state=isolated_state, proxy="127.0.0.1:0")
    async with Node(flags) as node:
        kept = (node.node_id, node.proxy_token)
        with pytest.raises(ConfigError, match="in use by"):
            await Node(flags).start()
    async with Node(flags) as node:
        assert (node.node_id, node.proxy_token) == kept


async def test_a_start_that_fails_leaves_nothing_open(isolated_state: Path) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}"):
        await Node(settings(state=isolated_state, proxy=f"127.0.0.1:{port}")).start()
    taken.close()
    async with Node(settings(state=isolated_state)):
        pass


async def test_a_udp_port_in_use(make_node: MakeNode) -> None:
    node = await make_node()
    with pytest.raises(ConfigError, match=r"cannot listen on UDP .* another address or port"):
        await make_node(listen=[str(node.endpoint.addresses[0])])


async def test_settings_that_the_transport_refuses(make_node: MakeNode) -> None:
    with pytest.raises(ConfigError, match="no congestion control is called 'warp'"):
        await make_node(transport_option=["congestion=warp"])
    with pytest.raises(PluginNotFound, match=r"there are: .*utp"):
        await make_node(transport="carrier-pigeon")


async def test_a_broken_socket_ends_the_node(make_node: MakeNode) -> None:
    node = await make_node()
    events = node.events.subscribe()
    node.host.endpoint_failed(OSError("the cable was cut"))
    seen: list[NodeEvent] = [event async for event in events]
    assert isinstance(seen[-1], Stopped)
    assert seen[-1].reason
    assert node.failure is not None


async def test_rotations_at_once_are_one_after_the_other(isolated_state: Path) -> None:
    async with Node(settings(state=isolated_state)) as node:
        first = node.node_id
        rotated = await asyncio.gather(*(node.rotate() for _ in range(4)))
        assert node.identity.lineage == (*reversed(rotated), first)
        lineage = node.identity.lineage
    async with Node(settings(state=isolated_state)) as node:
        assert node.identity.lineage == lineage


async def test_whoever_closes_waits_until_it_is_closed(isolated_state: Path) -> None:
    node = Node(settings(state=isolated_state))
    await node.start()
    first = asyncio.create_task(node.aclose())
    await asyncio.sleep(0)
    await node.aclose()
    assert first.done()
    async with Node(settings(state=isolated_state)):
        pass


async def test_starting_twice_and_closing_twice() -> None:
    node = Node(settings(), identity=Identity.generate())
    await node.start()
    with pytest.raises(LocalProtocolError, match="starts once"):
        await node.start()
    await node.aclose()
    await node.aclose()
    never_started = Node(Config())
    await never_started.aclose()


async def test_closing_in_the_middle_of_things(make_node: MakeNode, echo_port: int) -> None:
    behind = await make_node(expose=[f"7=127.0.0.1:{echo_port}"], allow=["any"])
    front = await make_node(proxy="127.0.0.1:0", peer=[at(behind)])
    _, reader, writer = await connect_through(front, behind.node_id, 7)
    writer.write(b"x" * 100_000)
    await reader.readexactly(1)
    async with asyncio.timeout(10):
        await behind.aclose()
        await front.aclose()
    writer.close()
