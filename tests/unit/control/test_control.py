# ruff: noqa: ASYNC240 (files of a few bytes)
"""The control socket: both forms, bounds, tokens, and whatever bytes a client may send."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keynet.control import ControlServer, call
from keynet.control import server as server_module
from keynet.control.place import SOCKET_FILE, TCP_FILE
from keynet.control.protocol import MAX_LINE, read_answer, read_request
from keynet.errors import (
    ConfigError,
    ConnectError,
    DeadlineExceeded,
    KeynetError,
    LookupFailed,
    RemoteProtocolError,
)


async def echo(params: Mapping[str, Any]) -> Any:
    return dict(params)


async def refuse(params: Mapping[str, Any]) -> Any:
    raise ConfigError("port 1 is taken")


async def fail(params: Mapping[str, Any]) -> Any:
    raise LookupFailed("nobody knows it")


async def crash(params: Mapping[str, Any]) -> Any:
    raise ZeroDivisionError("secret")


async def hang(params: Mapping[str, Any]) -> Any:
    await asyncio.Event().wait()


VERBS = {"echo": echo, "refuse": refuse, "fail": fail, "crash": crash, "hang": hang}


@pytest.fixture(params=["unix", "tcp"])
async def state(request: pytest.FixtureRequest, isolated_state: Path) -> AsyncIterator[Path]:
    isolated_state.mkdir()
    server = ControlServer(isolated_state, VERBS, tcp=request.param == "tcp")
    await server.start()
    yield isolated_state
    await server.aclose()
    await server.aclose()
    assert list(isolated_state.iterdir()) == []


async def ask(state: Path, verb: str, **params: Any) -> Any:
    return await asyncio.to_thread(call, state, verb, **params)


async def test_a_question_and_its_answer(state: Path) -> None:
    assert await ask(state, "echo", a=1, b=["x"]) == {"a": 1, "b": ["x"]}


async def test_only_the_owner_gets_at_it(state: Path) -> None:
    (file,) = state.iterdir()
    assert file.name in (SOCKET_FILE, TCP_FILE)
    assert file.stat().st_mode & 0o777 == 0o600


async def test_errors_reach_the_client(state: Path) -> None:
    with pytest.raises(ConfigError, match="port 1 is taken"):
        await ask(state, "refuse")
    with pytest.raises(KeynetError, match="nobody knows it"):
        await ask(state, "fail")
    with pytest.raises(ConfigError, match="knows no 'dance'; it knows crash, echo"):
        await ask(state, "dance")


async def test_a_crash_is_logged_and_not_told(
    state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KeynetError, match="its log says why"):
        await ask(state, "crash")
    assert "ZeroDivisionError" in caplog.text
    assert await ask(state, "echo") == {}


async def test_a_node_that_does_not_answer(state: Path) -> None:
    with pytest.raises(DeadlineExceeded):
        await ask(state, "hang", timeout=0.05)


async def test_no_node_running(isolated_state: Path) -> None:
    with pytest.raises(ConnectError, match="start one with keynet run"):
        await ask(isolated_state, "echo")


async def test_what_a_killed_node_left_behind(isolated_state: Path) -> None:
    isolated_state.mkdir()
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(isolated_state / SOCKET_FILE))
    left.close()
    with pytest.raises(ConnectError, match="no node is running"):
        await ask(isolated_state, "echo")
    server = ControlServer(isolated_state, VERBS)
    await server.start()
    assert await ask(isolated_state, "echo") == {}
    await server.aclose()


async def test_a_directory_with_too_long_a_name(tmp_path: Path) -> None:
    state = tmp_path / ("d" * 120)
    state.mkdir()
    server = ControlServer(state, VERBS)
    await server.start()
    assert (state / TCP_FILE).exists()
    assert await ask(state, "echo", a=2) == {"a": 2}
    await server.aclose()


async def test_tcp_needs_the_token(isolated_state: Path) -> None:
    isolated_state.mkdir()
    server = ControlServer(isolated_state, VERBS, tcp=True)
    await server.start()
    port = json.loads((isolated_state / TCP_FILE).read_text())["port"]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b'{"v":1,"verb":"echo"}\n')
    with pytest.raises(KeynetError, match="token is missing or wrong"):
        read_answer(await reader.readline())
    writer.close()
    await server.aclose()


async def open_client(state: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(str(state / SOCKET_FILE))


@pytest.mark.parametrize("state", ["unix"], indirect=True)
async def test_several_questions_on_one_connection(state: Path) -> None:
    reader, writer = await open_client(state)
    writer.write(b'{"v":1,"verb":"echo","params":{"n":1}}\nrubbish\n{"v":1,"verb":"echo"}\n')
    assert read_answer(await reader.readline()) == {"n": 1}
    with pytest.raises(KeynetError, match="not a control request"):
        read_answer(await reader.readline())
    assert read_answer(await reader.readline()) == {}
    writer.close()


@pytest.mark.parametrize("state", ["unix"], indirect=True)
async def test_a_line_without_end_is_cut(state: Path) -> None:
    reader, writer = await open_client(state)
    writer.write(b"x" * (MAX_LINE + 10))
    with pytest.raises(KeynetError, match="too long"):
        read_answer(await reader.readline())
    assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize("state", ["unix"], indirect=True)
async def test_too_many_clients(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_CLIENTS", 2)
    clients = [await open_client(state) for _ in range(3)]
    assert await clients[2][0].read() == b""
    clients[0][1].write(b'{"v":1,"verb":"echo"}\n')
    assert read_answer(await clients[0][0].readline()) == {}
    for _, writer in clients:
        writer.close()


@pytest.mark.parametrize("state", ["unix"], indirect=True)
async def test_a_silent_client_is_dropped(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "IDLE_TIMEOUT", 0.01)
    reader, writer = await open_client(state)
    assert await reader.read() == b""
    writer.close()


def test_another_version_is_told_so() -> None:
    with pytest.raises(RemoteProtocolError, match="version 1 of the control protocol, not 2"):
        read_request(b'{"v":2,"verb":"status"}', "")


@given(
    st.binary()
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_any_line_is_read_or_refused(line: bytes) -> None:
    for read in (lambda: read_request(line, ""), lambda: read_answer(line)):
        try:
            read()
        except KeynetError:
            continue


def test_another_users_directory_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refused)
    with pytest.raises(ConnectError, match=r"is another user's: ask as that user"):
        call(tmp_path, "echo")


@pytest.mark.parametrize("name", [SOCKET_FILE, TCP_FILE])
async def test_what_is_in_the_way_of_the_socket_is_named(isolated_state: Path, name: str) -> None:
    (isolated_state / name).mkdir(parents=True)
    with pytest.raises(ConfigError, match=f"{name} is in the way of the node's control socket"):
        await ControlServer(isolated_state, VERBS).start()
