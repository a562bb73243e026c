"""Nodes over a simulated network, on virtual time: loss, and peers that never answer."""

from __future__ import annotations

import asyncio

import pytest

from keynet.config import Config
from keynet.errors import DeadlineExceeded, KeynetError
from keynet.identity import Identity
from keynet.node import DialFailed, Node
from keynet.testing.clock import run
from keynet.testing.fakenet import FakeNet
from keynet.testing.link import LinkModel


def test_a_connection_over_a_lossy_path() -> None:
    async def program() -> None:
        net = FakeNet(seed=7, link=LinkModel(latency=0.02, loss=0.2))
        at = net.endpoint()
        async with Node(identity=Identity.generate(), endpoint=at) as one:
            config = Config.of(peer=f"{one.node_id}@{at.addresses[0]}")
            async with Node(config, identity=Identity.generate(), endpoint=net.endpoint()) as two:
                connection = await two.connect(one.node_id)
                assert connection.peer.node_id == one.node_id

    run(program())


def test_a_peer_that_never_answers_is_given_up_in_time() -> None:
    async def program() -> None:
        net = FakeNet()
        silent = Identity.generate().node_id
        config = Config.of(peer=f"{silent}@10.9.9.9:4000", deadline=5)
        async with Node(config, identity=Identity.generate(), endpoint=net.endpoint()) as node:
            events = node.events.subscribe()
            loop = asyncio.get_running_loop()
            started_at = loop.time()
            with pytest.raises(KeynetError) as caught:
                await node.connect(silent)
            assert 1 < loop.time() - started_at <= 5
            if not isinstance(caught.value, DeadlineExceeded):
                assert isinstance(await anext(events), DialFailed)
            events.close()
            assert node.host.connections == ()

    run(program())
