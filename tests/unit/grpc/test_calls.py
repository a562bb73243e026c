"""Real gRPC clients and a real server, with the two proxies between them."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from keynet import errors
from keynet.config.values import UnixPath
from keynet.rpc.grpc import aio_channel, channel, client_address
from keynet.rpc.proxy.services import Access
from keynet.testing.proxies import TOKEN, proxy_pair

InThread = Callable[[grpc.Channel, Callable[[Any], Any]], Any]

HOSTILE_ENVIRONMENT = {
    "http_proxy": "http://127.0.0.1:1",
    "https_proxy": "http://127.0.0.1:1",
    "grpc_proxy": "http://127.0.0.1:1",
    "no_proxy": "*",
    "no_grpc_proxy": "keynet,127.0.0.1,localhost",
}


def code_of(work: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        work()
    return caught.value.code(), caught.value.details()


class TestChannel:
    async def test_carries_all_four_kinds_of_calls(
        self, grpc_server: Any, in_thread: InThread, expected: Any
    ) -> None:
        async with proxy_pair(grpc_server.service) as pair:
            made = channel(pair, pair.server.node_id, 80)
            assert await in_thread(made, lambda calls: calls.all_four()) == expected
        assert len(pair.near.streams) == 1

    @pytest.mark.parametrize("variable", HOSTILE_ENVIRONMENT)
    async def test_is_immune_to_proxy_variables(
        self,
        grpc_server: Any,
        in_thread: InThread,
        monkeypatch: pytest.MonkeyPatch,
        variable: str,
    ) -> None:
        monkeypatch.setenv(variable, HOSTILE_ENVIRONMENT[variable])
        async with proxy_pair(grpc_server.service) as pair:
            made = channel(pair, pair.server.node_id, 80)
            assert await in_thread(made, lambda calls: calls.unary(b"x", timeout=10)) == b"x"
        assert len(pair.near.streams) == 1

    async def test_works_over_a_unix_socket(
        self, grpc_server: Any, in_thread: InThread, expected: Any, tmp_path: Path
    ) -> None:
        listen = UnixPath(str(tmp_path / "proxy"))
        async with proxy_pair(grpc_server.service, token=None, listen=listen) as pair:
            made = channel(pair, pair.server.node_id, 80)
            assert await in_thread(made, lambda calls: calls.all_four()) == expected

    async def test_leads_the_servers_statuses_through(
        self, grpc_server: Any, in_thread: InThread
    ) -> None:
        async with proxy_pair(grpc_server.service) as pair:
            made = channel(pair, pair.server.node_id, 80)
            seen = await in_thread(made, lambda calls: code_of(lambda: calls.unary(b"fail")))
            assert seen == (grpc.StatusCode.FAILED_PRECONDITION, "told to")

    async def test_carries_large_messages_both_ways(
        self, grpc_server: Any, in_thread: InThread
    ) -> None:
        message = os.urandom(4_000_000)
        async with proxy_pair(grpc_server.service) as pair:
            made = channel(pair, pair.server.node_id, 80)
            assert await in_thread(made, lambda calls: calls.unary(message)) == message

    async def test_lets_the_server_ask_who_calls(
        self, grpc_server: Any, in_thread: InThread
    ) -> None:
        async with proxy_pair(grpc_server.service) as pair:

            def call_and_look(calls: Any) -> Any:
                calls.unary(b"x")
                address = client_address(grpc_server.peers[0])
                assert address is not None
                return pair.reverse.audit.by_client(address)

            made = channel(pair, pair.server.node_id, 80)
            found = await in_thread(made, call_and_look)
            assert found.peer == pair.client.node_id
            assert found.certificates == pair.far.peer.certificates_pem()

    async def test_learns_at_once_that_the_path_died(
        self, grpc_server: Any, in_thread: InThread
    ) -> None:
        async with proxy_pair(grpc_server.service) as pair:
            loop = asyncio.get_running_loop()

            def call_and_lose(calls: Any) -> tuple[grpc.StatusCode, str]:
                seen = threading.Event()
                replies = calls.duplex(_first_then_wait(seen), timeout=30)
                next(replies)
                loop.call_soon_threadsafe(pair.near.lose, "no pong for 8 s")
                code = code_of(lambda: next(replies))
                seen.set()
                return code

            made = channel(pair, pair.server.node_id, 80)
            code, _ = await in_thread(made, call_and_lose)
            assert code is grpc.StatusCode.UNAVAILABLE


def _first_then_wait(seen: threading.Event) -> Iterator[bytes]:
    yield b"x"
    seen.wait(30)


class TestStatuses:
    """A gRPC client sees nothing but the code."""

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (errors.LookupFailed("x"), 404),
            (errors.PunchFailed("x"), 503),
            (errors.DeadlineExceeded("x"), 504),
            (errors.CertificateExpired("x"), 526),
        ],
        ids=repr,
    )
    async def test_errors_of_this_side(
        self, in_thread: InThread, error: Exception, status: int
    ) -> None:
        async with proxy_pair() as pair:
            pair.dialer.error = error
            made = channel(pair, pair.server.node_id, 80)
            code, text = await in_thread(made, lambda c: code_of(lambda: c.unary(b"x", timeout=9)))
            assert code is grpc.StatusCode.UNAVAILABLE
            assert str(status) in text

    async def test_refusals_of_the_peer(self, grpc_server: Any, in_thread: InThread) -> None:
        async with proxy_pair(grpc_server.service, access=Access()) as pair:
            made = channel(pair, pair.server.node_id, 80)
            _, text = await in_thread(made, lambda c: code_of(lambda: c.unary(b"x", timeout=9)))
            assert "403" in text

    async def test_a_wrong_token(self, grpc_server: Any, in_thread: InThread) -> None:
        async with proxy_pair(grpc_server.service) as pair:
            pair.proxy_token = "wrong"
            made = channel(pair, pair.server.node_id, 80)
            _, text = await in_thread(made, lambda c: code_of(lambda: c.unary(b"x", timeout=9)))
            assert "407" in text


async def test_plain_grpcio_with_its_own_proxy_option(
    grpc_server: Any, in_thread: InThread, expected: Any
) -> None:
    async with proxy_pair(grpc_server.service) as pair:
        proxy = f"http://keynet:{TOKEN}@{pair.proxy}"
        target = f"{pair.server.node_id}.keynet:80"
        made = grpc.insecure_channel(target, [("grpc.http_proxy", proxy)])
        assert await in_thread(made, lambda calls: calls.all_four()) == expected


async def test_the_older_form_by_address(
    grpc_server: Any, in_thread: InThread, expected: Any
) -> None:
    async with proxy_pair(grpc_server.service) as pair:
        where = f"192.0.2.2:4002/?nodeId={pair.server.node_id}"
        options = [("grpc.http_connect_server", where)]
        made = channel(pair, pair.server.node_id, 80, options=options)
        assert await in_thread(made, lambda calls: calls.all_four()) == expected
        assert str(pair.dialer.dialled[0].address) == "192.0.2.2:4002"


async def test_aio_channels_carry_all_four_kinds_of_calls(grpc_server: Any, expected: Any) -> None:
    async def requests() -> AsyncIterator[bytes]:
        for request in (b"a", b"b", b"c"):
            yield request

    async with (
        proxy_pair(grpc_server.service) as pair,
        aio_channel(pair, pair.server.node_id, 80) as made,
    ):
        streamed = made.unary_stream("/test.Echo/ServerStream")(b"n")
        duplex = made.stream_stream("/test.Echo/Duplex")(requests())
        assert [
            await made.unary_unary("/test.Echo/Unary")(b"hello"),
            [reply async for reply in streamed],
            await made.stream_unary("/test.Echo/ClientStream")(requests()),
            [reply async for reply in duplex],
        ] == expected


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_with_http2_prior_knowledge(grpc_server: Any, tmp_path: Path) -> None:
    body = tmp_path / "request"
    body.write_bytes(b"\0\0\0\0\5hello")
    async with proxy_pair(grpc_server.service) as pair:
        process = await asyncio.create_subprocess_exec(
            *("curl", "--silent", "--show-error", "--proxytunnel", "--http2-prior-knowledge"),
            *("--proxy", f"http://keynet:{TOKEN}@{pair.proxy}", "--max-time", "20"),
            *("--header", "content-type: application/grpc", "--header", "te: trailers"),
            *("--data-binary", f"@{body}"),
            f"http://{pair.server.node_id}.keynet:80/test.Echo/Unary",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert (process.returncode, err) == (0, b"")
        assert out == b"\0\0\0\0\5hello"
