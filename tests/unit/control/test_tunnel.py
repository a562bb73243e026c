# ruff: noqa: ASYNC240 (files of a few bytes)
"""The control socket as a way to a peer's built-in protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from keynet.address import NodeId
from keynet.control import ControlServer, call
from keynet.control import server as server_module
from keynet.control import tunnel as tunnel_module
from keynet.control.protocol import VERSION, Request, encode, read_answer
from keynet.control.server import Tunnel
from keynet.control.tunnel import VERB, open_tunnel
from keynet.errors import ConnectError, DeadlineExceeded, KeynetError, RpcError
from keynet.identity import Identity, verify_chain
from keynet.rpc.proxy.local_stream import LocalConnection, LocalStream, stream_pair
from keynet.rpc.status import Status, rpc_error

SERVER = Identity.generate()
BLOB = bytes(range(256)) * 4000


class FarSide:
    """Gives tunnels, and echoes in capitals what comes through them."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, Any]] = []
        self.streams: list[LocalStream] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.error: KeynetError | None = None
        self.hangs = False

    async def verb(self, params: Mapping[str, Any]) -> Tunnel:
        self.asked.append(params)
        if self.error is not None:
            raise self.error
        if self.hangs:
            await asyncio.Event().wait()
        peer = verify_chain(SERVER.chain, None)
        near, far = await stream_pair(LocalConnection(peer))
        self.streams += [near, far]
        self.tasks.append(asyncio.ensure_future(self._shout(far)))
        return Tunnel({"certificates": peer.certificates_pem()}, near)

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for stream in self.streams:
            stream.reset()
        await asyncio.sleep(0)

    async def _shout(self, far: LocalStream) -> None:
        while data := await far.read():
            far.write(data.upper())
            await far.drain()
        far.write_eof()


@pytest.fixture(params=["unix", "tcp"])
async def far(request: pytest.FixtureRequest, isolated_state: Path) -> AsyncIterator[FarSide]:
    isolated_state.mkdir()
    side = FarSide()

    async def echo(params: Mapping[str, Any]) -> Any:
        return dict(params)

    verbs = {VERB: side.verb, "echo": echo}
    server = ControlServer(isolated_state, verbs, tcp=request.param == "tcp")
    await server.start()
    yield side
    await server.aclose()
    await side.close()


async def read_all(stream: LocalStream) -> bytes:
    parts = []
    while data := await stream.read():
        parts.append(data)
    return b"".join(parts)


async def test_bytes_go_both_ways_until_both_ends(far: FarSide, isolated_state: Path) -> None:
    stream = await open_tunnel(isolated_state, SERVER.node_id, "jsonrpc")
    assert far.asked == [{"node_id": str(SERVER.node_id), "protocol": "jsonrpc"}]
    assert stream.connection.peer.node_id == SERVER.node_id
    reading = asyncio.ensure_future(read_all(stream))
    stream.write(BLOB)
    await stream.drain()
    stream.write_eof()
    assert await reading == BLOB.upper()
    await stream.wait_closed()


async def test_bytes_behind_the_request_are_not_lost(far: FarSide, isolated_state: Path) -> None:
    end = await tunnel_module.connect(
        tunnel_module.find(isolated_state).address, tunnel_module.receive_buffer()
    )
    token = tunnel_module.find(isolated_state).token
    end.write(encode(Request(VERSION, VERB, {}, token)) + b"early")
    received = b""
    while not received.endswith(b"EARLY"):
        received += await end.receive()
    assert read_answer(received.partition(b"\n")[0])["certificates"]
    end.abort()


async def test_many_tunnels_leave_room_for_questions(
    far: FarSide, isolated_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MAX_CLIENTS", 2)
    monkeypatch.setattr(server_module, "MAX_TUNNELS", 3)
    streams = [await open_tunnel(isolated_state, SERVER.node_id, "x") for _ in range(3)]
    assert await asyncio.to_thread(call, isolated_state, "echo", a=1) == {"a": 1}
    with pytest.raises(KeynetError, match="carries 3 commands' calls already"):
        await open_tunnel(isolated_state, SERVER.node_id, "x")
    streams[0].reset()
    while not far.tasks[0].done():  # noqa: ASYNC110 (there is nothing to be told by)
        await asyncio.sleep(0.001)
    streams.append(await open_tunnel(isolated_state, SERVER.node_id, "x"))
    for stream in streams:
        stream.reset()


async def test_a_refusal_keeps_its_status(far: FarSide, isolated_state: Path) -> None:
    far.error = rpc_error(Status.NOT_FOUND, "nobody knows it")
    with pytest.raises(RpcError) as caught:
        await open_tunnel(isolated_state, SERVER.node_id, "jsonrpc")
    assert (caught.value.status, caught.value.message) == (Status.NOT_FOUND, "nobody knows it")


async def test_the_peers_stream_breaking_ends_the_tunnel(
    far: FarSide, isolated_state: Path
) -> None:
    stream = await open_tunnel(isolated_state, SERVER.node_id, "jsonrpc")
    far.streams[0].reset()
    try:
        assert await stream.read() == b"", "over a Unix socket"
    except KeynetError:
        assert stream.error is not None
    stream.reset()


async def test_no_node_is_running(isolated_state: Path) -> None:
    with pytest.raises(ConnectError, match="no node is running"):
        await open_tunnel(isolated_state, NodeId(bytes(32)), "jsonrpc")


async def test_a_node_that_does_not_answer(
    far: FarSide, isolated_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnel_module, "TIMEOUT", 0.05)
    far.hangs = True
    with pytest.raises(DeadlineExceeded, match="has not connected"):
        await open_tunnel(isolated_state, SERVER.node_id, "jsonrpc")


async def test_a_node_that_closes_meanwhile(
    far: FarSide, isolated_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MAX_CLIENTS", 0)
    with pytest.raises(KeynetError):
        await open_tunnel(isolated_state, SERVER.node_id, "jsonrpc")
