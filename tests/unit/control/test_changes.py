"""Changing a running node's tables, in the language of its settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from keynet.address import NodeId, SocketAddress
from keynet.config import Config
from keynet.control.verbs import describe, verbs
from keynet.errors import ConfigError
from keynet.identity import Identity
from keynet.node import Node

PEER = NodeId(b"\1" * 32)
SEED = f"{NodeId(bytes(32))}@127.0.0.1:9"


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    config = Config.of(listen="127.0.0.1:0", seed=[SEED])
    async with Node(config, identity=Identity.generate()) as node:
        yield node


async def change(node: Node, verb: str, action: str, value: str | None = None) -> Any:
    params = {"action": action} if value is None else {"action": action, "value": value}
    return await verbs(node)[verb](params)


@pytest.mark.parametrize(
    ("verb", "entry", "key"),
    [
        ("allow", f"{PEER}=80,443", str(PEER)),
        ("allow", "any", "any"),
        ("allow-call", f"{PEER}=greeter", str(PEER)),
        ("allow-call", "any", "any"),
        ("expose", "80=127.0.0.1:8080", "80"),
        ("peer", f"{PEER}@127.0.0.1:4", str(PEER)),
    ],
)
async def test_what_is_added_is_listed_and_can_be_removed(
    node: Node, verb: str, entry: str, key: str
) -> None:
    assert await change(node, verb, "list") == []
    assert await change(node, verb, "add", entry) == [entry]
    assert await change(node, verb, "list") == [entry]
    assert await change(node, verb, "remove", key) == []
    with pytest.raises(ConfigError):
        await change(node, verb, "remove", key)


async def test_changes_take_effect_at_once(node: Node) -> None:
    await change(node, "allow", "add", f"{PEER}=80")
    assert node.reverse_proxy.access.match([PEER], 80) == PEER
    assert node.reverse_proxy.access.match([PEER], 81) is None
    await change(node, "allow", "add", "any")
    assert node.reverse_proxy.access.match([NodeId(bytes(32))], 81) is not None
    await change(node, "expose", "add", "80=127.0.0.1:8080")
    assert node.reverse_proxy.services.find(80) is not None
    await change(node, "allow-call", "add", f"{PEER}=greeter")
    assert node.calls.permits([PEER], "greeter.hello")
    await change(node, "peer", "add", f"{PEER}@127.0.0.1:4")
    assert await node.statics.addresses(PEER) == [SocketAddress("127.0.0.1", 4)]
    told = describe(node)
    assert told["peers"] == [f"{PEER}@127.0.0.1:4"]
    assert told["services"] == {"80": "127.0.0.1:8080"}


async def test_a_port_that_is_exposed_again_leads_to_the_new_server(node: Node) -> None:
    await change(node, "expose", "add", "80=127.0.0.1:1")
    assert await change(node, "expose", "add", "80=127.0.0.1:2") == ["80=127.0.0.1:2"]


async def test_seeds_are_no_peers_to_be_removed(node: Node) -> None:
    assert await change(node, "peer", "list") == []
    with pytest.raises(ConfigError, match="is a seed"):
        await change(node, "peer", "remove", SEED.partition("@")[0])


@pytest.mark.parametrize(
    ("verb", "action", "value"),
    [
        ("allow", "add", "nobody"),
        ("allow", "add", None),
        ("allow", "drop", str(PEER)),
        ("allow", "list", str(PEER)),
        ("expose", "add", "80"),
        ("expose", "remove", "eighty"),
        ("peer", "add", f"{PEER}@224.0.0.1:4"),
        ("peer", "add", str(PEER)),
    ],
)
async def test_what_makes_no_sense_is_refused_and_changes_nothing(
    node: Node, verb: str, action: str, value: str | None
) -> None:
    with pytest.raises(ConfigError):
        await change(node, verb, action, value)
    assert await change(node, verb, "list") == []
