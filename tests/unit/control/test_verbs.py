"""What a running node answers on its control socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from keynet.address import Authority, NodeId
from keynet.config import AllowCalls, read
from keynet.control.verbs import describe, verbs
from keynet.errors import ConfigError, RpcError
from keynet.identity import Identity
from keynet.node import Node
from keynet.rpc.proxy.credentials import basic
from keynet.rpc.status import Status


@pytest.fixture
async def nodes() -> AsyncIterator[tuple[Node, Node]]:
    """Two nodes, the first with an echo service on port 7 and an open client of the second."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(100))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    flags = {
        "listen": ["127.0.0.1:0"],
        "proxy": "127.0.0.1:0",
        "expose": [f"7=127.0.0.1:{port}"],
        "allow": ["any"],
    }
    async with server, Node(read(None, flags), identity=Identity.generate()) as behind:
        flags["peer"] = [f"{behind.node_id}@{behind.endpoint.addresses[0]}"]
        async with Node(read(None, flags), identity=Identity.generate()) as front:
            assert isinstance(front.proxy, Authority)
            assert front.proxy_token is not None
            reader, writer = await asyncio.open_connection(front.proxy.host, front.proxy.port)
            target = Authority.of_node(behind.node_id, 7)
            credentials = basic(front.proxy_token)
            head = f"CONNECT {target} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: {credentials}\r\n"
            writer.write(head.encode() + b"\r\n")
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"hello")
            assert await reader.read(100) == b"hello"
            yield behind, front
            writer.close()


async def test_status_fits_json_and_names_everything(nodes: tuple[Node, Node]) -> None:
    behind, front = nodes
    status = json.loads(json.dumps(await verbs(front)["status"]({})))
    assert status["node_id"] == str(front.node_id)
    assert status["proxy"] == str(front.proxy)
    assert status["proxy_token"] == front.proxy_token
    assert status["allow"] == "any"
    (connection,) = status["connections"]
    assert connection["peer"] == str(behind.node_id)
    assert connection["dialed"] is True
    assert connection["streams"] == 1
    assert connection["stats"]
    assert status["tunnels"] == {"to_peers": 1, "from_peers": 0}
    assert any("receive_buffer" in name for name in status["socket"])


async def test_audit_by_client_and_by_peer(nodes: tuple[Node, Node]) -> None:
    behind, front = nodes
    audit = verbs(behind)["audit"]
    everything = await audit({})
    (one,) = everything["from_peers"]
    assert one["peer"] == str(front.node_id)
    assert one["service"] == 7
    assert one["bytes_from_peer"] == 5
    assert "BEGIN CERTIFICATE" in one["certificates"]
    assert json.dumps(everything)
    assert await audit({"client": one["client"]}) == everything
    assert await audit({"peer": one["peer"]}) == everything
    assert await audit({"client": "127.0.0.1:1"}) == {"to_peers": [], "from_peers": []}
    assert await audit({"peer": str(NodeId(bytes(32)))}) == {"to_peers": [], "from_peers": []}
    for wrong in ({"peer": "x"}, {"client": 7}):
        with pytest.raises(ConfigError):
            await audit(wrong)


async def test_rotate(nodes: tuple[Node, Node]) -> None:
    behind, _ = nodes
    old = behind.node_id
    assert await verbs(behind)["rotate"]({}) == behind.identity.facts()
    assert behind.identity.facts()["lineage"] == [str(behind.node_id), str(old)]


async def test_calls_are_told_of_by_binding(nodes: tuple[Node, Node]) -> None:
    behind, front = nodes
    client = front.client(behind.node_id)
    await client.call("keynet.ping")
    with pytest.raises(RpcError):
        await client.call("greeter.hello")
    told = json.loads(json.dumps(await verbs(behind)["status"]({})))["rpc"]
    assert told == {
        "services": {"keynet": 2, "signalling": 1},
        "allow": [],
        "running": 0,
        "bindings": {"jsonrpc": {"taken": 1, "refused": 1}},
    }
    behind.calls.allow(AllowCalls.parse(f"{front.node_id}=a.b"))
    assert describe(behind)["rpc"]["allow"] == [f"{front.node_id}=a.b"]
    behind.calls.anyone = True
    assert describe(behind)["rpc"]["allow"] == "any"


async def test_a_tunnel_leads_to_a_peers_protocol_or_says_why_not(
    nodes: tuple[Node, Node],
) -> None:
    behind, front = nodes
    tunnel, why = verbs(front)["tunnel"], verbs(front)["why"]
    given = await tunnel({"node_id": str(behind.node_id), "protocol": "jsonrpc"})
    assert given.stream.connection.peer.node_id == behind.node_id
    assert given.result["peer"] == str(behind.node_id)
    given.stream.reset()
    with pytest.raises(RpcError) as caught:
        await tunnel({"node_id": str(behind.node_id), "protocol": "gopher"})
    assert caught.value.status == Status.UNIMPLEMENTED
    nobody = str(NodeId(bytes(32)))
    assert (await why({"node_id": nobody}))["trouble"] is None
    with pytest.raises(RpcError):
        await tunnel({"node_id": nobody, "protocol": "jsonrpc"})
    assert "no address is known" in (await why({"node_id": nobody}))["trouble"]
    for verb in (tunnel, why):
        with pytest.raises(ConfigError):
            await verb({})
