"""What a running node tells of its ways to peers: real nodes on loopback, with a seed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from keynet.address import NodeId
from keynet.config import Config
from keynet.control.verbs import describe, verbs
from keynet.errors import ConfigError, KeynetError
from keynet.identity import Identity
from keynet.node import Node, SeedChanged

NOBODY = str(NodeId(bytes(32)))


@pytest.fixture
async def three() -> AsyncIterator[tuple[Node, Node, Node]]:
    """A seed, and two nodes that are registered there."""
    async with AsyncExitStack() as stack:
        seed = await stack.enter_async_context(
            Node(Config.of(listen="127.0.0.1:0", seeding=True), identity=Identity.generate())
        )
        at = f"{seed.node_id}@{seed.endpoint.addresses[0]}"
        config = Config.of(listen="127.0.0.1:0", seed=at)
        members = [Node(config, identity=Identity.generate()) for _ in range(2)]
        for member in members:
            events = member.events.subscribe()
            await stack.enter_async_context(member)
            async with asyncio.timeout(10):
                async for event in events:
                    if isinstance(event, SeedChanged) and event.registered:
                        break
            events.close()
        yield seed, members[0], members[1]


async def test_a_first_ping_tells_of_the_punch_and_the_next_ones_of_round_trips(
    three: tuple[Node, Node, Node],
) -> None:
    _, a, b = three
    ping = verbs(a)["ping"]
    first = json.loads(json.dumps(await ping({"node_id": str(b.node_id)})))
    assert first["peer"] == str(b.node_id)
    assert first["remote"] == str(b.endpoint.addresses[0])
    assert first["punched"] is True
    assert first["opened_ms"] > 0
    assert first["relayed"] is False
    assert 0 <= first["link_ms"] < 5000
    assert 0 <= first["rpc_ms"] < 5000
    second = await ping({"node_id": str(b.node_id)})
    assert (second["opened_ms"], second["punched"], second["rpc_error"]) == (None, False, None)


async def test_a_node_that_calls_over_another_binding_pings_all_the_same(
    three: tuple[Node, Node, Node],
) -> None:
    b = three[2]
    at = f"{b.node_id}@{b.endpoint.addresses[0]}"
    config = Config.of(listen="127.0.0.1:0", rpc="grpc", peer=at)
    async with Node(config, identity=Identity.generate()) as other:
        found = await verbs(other)["ping"]({"node_id": str(b.node_id)})
        assert (found["rpc_error"], found["rpc_ms"] is None) == (None, False)


async def test_a_peer_without_a_pong_is_told_from_one_that_answers_no_call(
    three: tuple[Node, Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, a, b = three
    await a.connect(b.node_id)
    monkeypatch.setattr("keynet.control.reaching.PATIENCE", 0.2)
    monkeypatch.setattr(a.host.links, "stun_received", lambda *_: None)
    found = await verbs(a)["ping"]({"node_id": str(b.node_id)})
    assert found["link_ms"] is None
    assert found["rpc_ms"] is not None


async def test_pinging_somebody_unknown_fails_with_the_seeds_reason(
    three: tuple[Node, Node, Node],
) -> None:
    with pytest.raises(KeynetError, match="does not know"):
        await verbs(three[1])["ping"]({"node_id": NOBODY})


async def test_why_explains_a_peer_that_is_connected(three: tuple[Node, Node, Node]) -> None:
    _, a, b = three
    why = verbs(a)["why"]
    untried = await why({"node_id": str(b.node_id)})
    assert (untried["connected"], untried["attempt"]) == (False, None)
    assert "keynet ping tries" in untried["advice"][0]
    found = json.loads(json.dumps(await why({"node_id": str(b.node_id), "try": True})))
    assert found["connected"] is True
    (address,) = found["attempt"]["addresses"]
    assert address["address"] == str(b.endpoint.addresses[0])
    assert address["fate"] == "answered"
    assert found["link"]["paths"][0]["in_use"] is True
    assert found["advice"] == ["Nothing is wrong: the peer is connected."]


async def test_why_explains_a_peer_that_no_seed_knows(three: tuple[Node, Node, Node]) -> None:
    a = three[1]
    found = await verbs(a)["why"]({"node_id": NOBODY, "try": True})
    assert found["connected"] is False
    assert "does not know" in found["attempt"]["result"]
    assert found["attempt"]["addresses"] == []
    assert "The peer is not registered" in found["advice"][0]
    with pytest.raises(ConfigError, match="this node itself"):
        await verbs(a)["why"]({"node_id": str(a.node_id), "try": True})


async def test_the_status_shows_seeds_links_and_counters(three: tuple[Node, Node, Node]) -> None:
    seed, a, b = three
    await a.connect(b.node_id)
    told = json.loads(json.dumps(describe(a)))
    own = str(a.endpoint.addresses[0])
    (one,) = told["seeds"]
    assert one == {
        "seed": f"{seed.node_id}@{seed.endpoint.addresses[0]}",
        "registered": True,
        "observed": own,
        "error": None,
    }
    assert told["mapping"] == {"ipv4": "no NAT", "ipv6": "unknown"}
    assert told["candidates"] == [{"kind": "host", "address": own}]
    assert {link["peer"] for link in told["links"]} == {str(seed.node_id), str(b.node_id)}
    assert told["link_count"] == 2
    assert "strangers" not in told["signalling"]
    counted = describe(seed)["signalling"]
    assert counted["seed"]["registered"] == 2
    assert counted["seed"]["offer"] == 1
    assert counted["strangers"] == {}


async def test_a_seed_that_is_not_there_is_told_with_its_reason() -> None:
    nowhere = f"{Identity.generate().node_id}@127.0.0.1:1"
    config = Config.of(listen="127.0.0.1:0", seed=nowhere, deadline=0.3)
    node = Node(config, identity=Identity.generate())
    events = node.events.subscribe()
    async with node:
        async with asyncio.timeout(15):
            async for event in events:
                if isinstance(event, SeedChanged):
                    break
        (one,) = describe(node)["seeds"]
        assert (one["registered"], one["observed"]) == (False, None)
        assert "no answer" in one["error"]
        found = await verbs(node)["why"]({"node_id": NOBODY})
        assert "No seed has registered this node" in found["advice"][0]
    events.close()
