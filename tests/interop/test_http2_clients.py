"""Real gRPC and HTTP/2 clients through two real `keynet run` processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from benchmarks.network import LOOPBACK
from benchmarks.nodes import TOKEN, nodes
from benchmarks.stream import Address
from tests.interop.echo_service import SERVICE, echo_server
from tests.interop.foreign import PEERS

pytestmark = pytest.mark.may_leak_sockets  # grpcio keeps its sockets a while


@pytest.fixture(scope="module")
def path() -> Iterator[Address]:
    """A grpcio server behind one node, and the forward proxy of another node that may reach it."""
    with echo_server() as address:
        host, _, port = address.rpartition(":")
        with nodes(LOOPBACK, {"host": host, "port": int(port)}) as between:
            yield between.address


def test_grpcio_with_a_proxy_option(path: Address) -> None:
    options = [("grpc.http_proxy", path["http_proxy"])]
    with grpc.insecure_channel(path["target"], options=options) as channel:
        unary = channel.unary_unary(f"/{SERVICE}/Unary")
        assert unary(b"one", timeout=15) == b"one"
        server_stream = channel.unary_stream(f"/{SERVICE}/ServerStream")
        assert list(server_stream(b"a b c", timeout=15)) == [b"a", b"b", b"c"]
        client_stream = channel.stream_unary(f"/{SERVICE}/ClientStream")
        assert client_stream(iter([b"x", b"y", b"z"]), timeout=15) == b"xyz"
        duplex = channel.stream_stream(f"/{SERVICE}/Duplex")
        assert list(duplex(iter([b"p", b"q"]), timeout=15)) == [b"P", b"Q"]


def test_grpcio_carries_megabytes_both_ways(path: Address) -> None:
    options = [("grpc.http_proxy", path["http_proxy"])]
    message = os.urandom(3_000_000)
    with grpc.insecure_channel(path["target"], options=options) as channel:
        assert channel.unary_unary(f"/{SERVICE}/Unary")(message, timeout=30) == message


def test_grpcio_with_a_wrong_token_is_unavailable(path: Address) -> None:
    options = [("grpc.http_proxy", path["http_proxy"].replace(TOKEN, "wrong"))]
    with grpc.insecure_channel(path["target"], options=options) as channel:
        with pytest.raises(grpc.RpcError) as failure:
            channel.unary_unary(f"/{SERVICE}/Unary")(b"one", timeout=15)
        assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "407" in failure.value.details()


@pytest.mark.usefixtures("node_modules")
def test_grpc_js(path: Address) -> None:
    proxy = f"{path['host']}:{path['port']}"
    command = ["node", "grpc_client.js", proxy, f"keynet:{TOKEN}", path["target"]]
    said = json.loads(subprocess.run(command, cwd=PEERS, capture_output=True, timeout=40).stdout)
    assert said == {
        "event": "done",
        "unary": "one",
        "server_stream": ["a", "b", "c"],
        "client_stream": "xyz",
        "duplex": ["P", "Q"],
    }


def curl(path: Address, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run curl with HTTP/2 prior knowledge, tunnelling through the forward proxy."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = ["curl", "--silent", "--show-error", "--max-time", "20", "--http2-prior-knowledge"]
    proxy = ["--proxytunnel", "--proxy", path["http_proxy"]]
    return subprocess.run([*command, *proxy, *arguments], capture_output=True, timeout=40)


def test_curl_speaks_http2_to_the_grpc_server(path: Address, tmp_path: Path) -> None:
    frame = tmp_path / "frame"
    frame.write_bytes(b"\0" + (3).to_bytes(4, "big") + b"one")
    headers = ["--header", "content-type: application/grpc", "--header", "te: trailers"]
    url = f"http://{path['target']}/{SERVICE}/Unary"
    done = curl(path, *headers, "--data-binary", f"@{frame}", "--include", url)
    assert done.returncode == 0, done.stderr
    assert b"HTTP/2 200" in done.stdout
    assert frame.read_bytes() in done.stdout
    assert b"grpc-status: 0" in done.stdout


def test_curl_without_a_tunnel_is_told_405(path: Address) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = ["curl", "--silent", "--max-time", "20", "--output", os.devnull]
    command += ["--write-out", "%{http_code}", "--proxy", path["http_proxy"]]
    done = subprocess.run([*command, f"http://{path['target']}/"], capture_output=True, timeout=40)
    assert done.stdout == b"405"
