"""What grpcio is told; what it then does is in test_calls.py."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from keynet.address import Authority, NodeId, SocketAddress
from keynet.config.values import LocalAddress, UnixPath
from keynet.errors import ConfigError
from keynet.rpc.grpc import aio_channel, binding, channel, client_address
from keynet.rpc.grpc.channel import _how_to_dial, grpcio

NODE = NodeId(b"\3" * 32)


PROXY = Authority("127.0.0.1", 8080)


@dataclass
class Node:
    proxy: LocalAddress | None = PROXY
    proxy_token: str | None = "s3cret"


def dialled(node: Node, **options: Any) -> tuple[str, dict[str, Any]]:
    target, settings = _how_to_dial(node, NODE, 80, [*options.items()])
    assert len(dict(settings)) == len(settings)
    return target, dict(settings)


def test_the_proxy_is_dialled_and_told_where_to_connect() -> None:
    target, settings = dialled(Node())
    assert target == "127.0.0.1:8080"
    assert settings == {
        "grpc.http_connect_server": f"{NODE}.keynet:80",
        "grpc.enable_http_proxy": 0,
        "grpc.default_authority": f"{NODE}.keynet:80",
        "grpc.http_connect_headers": "Proxy-Authorization: Basic a2V5bmV0OnMzY3JldA==",
    }


@pytest.mark.parametrize(
    ("proxy", "target"),
    [
        (UnixPath("/run/keynet/proxy"), "unix:/run/keynet/proxy"),
        (Authority("::1", 8080), "[::1]:8080"),
        (Authority("0.0.0.0", 8080), "127.0.0.1:8080"),
        (Authority("::", 8080), "[::1]:8080"),
        (SocketAddress("127.0.0.1", 8080), "127.0.0.1:8080"),
    ],
)
def test_every_kind_of_proxy_address(proxy: LocalAddress, target: str) -> None:
    assert dialled(Node(proxy))[0] == target


def test_without_a_token_no_credentials_are_sent() -> None:
    assert "grpc.http_connect_headers" not in dialled(Node(proxy_token=None))[1]


def test_the_callers_options_win() -> None:
    options = {"grpc.default_authority": "example.org", "grpc.max_receive_message_length": 5}
    settings = dialled(Node(), **options)[1]
    assert settings.items() >= options.items()


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_no_service_has_is_refused(port: int) -> None:
    with pytest.raises(ConfigError):
        channel(Node(), NODE, port)


def test_the_entry_points_factory_offers_both_kinds_of_channels() -> None:
    made = binding()
    assert (made.name, made.channel, made.aio_channel) == ("grpc", channel, aio_channel)


def test_a_node_without_a_proxy_is_refused() -> None:
    with pytest.raises(ConfigError, match="--proxy"):
        channel(Node(None), NODE, 80)


@pytest.mark.parametrize("make", [channel, aio_channel])
def test_without_grpcio_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(ConfigError, match=r"keynet\[grpc\]"):
        make(Node(), NODE, 80)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:127.0.0.1:5000", SocketAddress("127.0.0.1", 5000)),
        ("ipv6:%5B::1%5D:5000", SocketAddress("::1", 5000)),
        ("ipv6:[::ffff:127.0.0.1]:5000", SocketAddress("127.0.0.1", 5000)),
        ("unix:/run/socket", None),
        ("unix:", None),
        ("ipv4:nonsense", None),
        ("", None),
    ],
)
def test_how_grpcio_names_its_clients(peer: str, address: SocketAddress | None) -> None:
    assert client_address(peer) == address


@pytest.mark.parametrize(("said", "holds"), [(None, "NONE"), ("DEBUG", "DEBUG")])
def test_the_core_of_grpcio_says_nothing_by_itself_unless_it_is_told_to(
    monkeypatch: pytest.MonkeyPatch, said: str | None, holds: str
) -> None:
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)
    if said is not None:
        monkeypatch.setenv("GRPC_VERBOSITY", said)
    grpcio()
    assert os.environ["GRPC_VERBOSITY"] == holds
