"""What may stand after CONNECT."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from keynet.address import Authority, NodeId, SocketAddress
from keynet.errors import ConfigError, LookupFailed
from keynet.rpc.proxy.api import Target
from keynet.rpc.proxy.target import (
    Builtin,
    ClientTarget,
    builtin_authority,
    locate,
    parse_authority,
    parse_target,
    wire_authority,
)

NODE = NodeId(bytes(range(32)))


async def no_resolver(host: str, port: int) -> Sequence[SocketAddress]:
    raise AssertionError(f"{host} was looked up")


def test_node_and_port() -> None:
    assert parse_target(f"{NODE}.keynet:80") == ClientTarget(NODE, 80)
    assert parse_target(f"{str(NODE).upper()}.KeyNet:80") == ClientTarget(NODE, 80)


def test_port_0_is_the_only_service() -> None:
    assert parse_target(f"{NODE}.keynet:0") == ClientTarget(NODE, None)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.0.2.1:4000", Authority("192.0.2.1", 4000), None),
        ("[2001:db8::1]:4000", Authority("2001:db8::1", 4000), None),
        ("2001:db8::1:4000", Authority("2001:db8::1", 4000), None),
        ("home.example.org:4000", Authority("home.example.org", 4000), None),
    ],
)
def test_address_and_node(text: str, host: Authority, port: int | None) -> None:
    assert parse_target(f"{text}/?nodeId={NODE}") == ClientTarget(NODE, port, host)
    assert parse_target(f"{text}/?nodeId={NODE}&service=22") == ClientTarget(NODE, 22, host)
    assert parse_target(f"{text}/?service=22&nodeId={NODE}") == ClientTarget(NODE, 22, host)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "example.org:443",
        "192.0.2.1:443",
        f"{NODE}.keynet",
        f"{NODE}.keynet:",
        f"{NODE}.keynet:65536",
        f"{NODE}.keynet:-1",
        f"{NODE}.keynet:٣",
        f"x.{NODE}.keynet:80",
        f"{str(NODE)[:-1]}.keynet:80",
        f"{str(NODE)[:-1]}z.keynet:80",
        f"{NODE}.keynet:80/",
        f"{NODE}.keynet:80/x",
        "jsonrpc.keynet:0",
        "192.0.2.1:4000/?",
        "192.0.2.1:4000/?nodeId=",
        "192.0.2.1:4000/?nodeid=" + str(NODE),
        f"192.0.2.1:4000?nodeId={NODE}",
        f"192.0.2.1:4000/?nodeId={NODE}&nodeId={NODE}",
        f"192.0.2.1:4000/?nodeId={NODE}&service=",
        f"192.0.2.1:4000/?nodeId={NODE}&service=70000",
        f"192.0.2.1:4000/?nodeId={NODE}&service=1:2",
        f"192.0.2.1:4000/?nodeId={NODE}&other=1",
        f"192.0.2.1:4000/?nodeId={NODE}&service=1&other=1",
        f"192.0.2.1:4000/?nodeId={NODE}%ff",
        f"192.0.2.1/?nodeId={NODE}",
        f"/?nodeId={NODE}",
        "a" * 2000 + f".keynet:1/?nodeId={NODE}",
    ],
)
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_target(text)


@pytest.mark.parametrize("name", ["jsonrpc", "grpc", "a", "a-2", "x" * 31])
def test_builtin_protocols(name: str) -> None:
    """Of the node itself between nodes, of a node that is named for its clients."""
    assert parse_authority(f"{name}.keynet:0") == Builtin(name)
    assert parse_authority(f"{name.upper()}.KeyNet:0") == Builtin(name)
    wanted = ClientTarget(NODE, None, builtin=name)
    assert parse_target(f"{name}.{NODE}.keynet:0") == wanted
    assert parse_target(f"{name.upper()}.{str(NODE).upper()}.Keynet:0") == wanted
    assert parse_target(str(builtin_authority(NODE, name))) == wanted


@pytest.mark.parametrize("name", ["", "2", "-", "a_b", "a.b", "x" * 32, "ſ"])
def test_names_that_no_builtin_protocol_has(name: str) -> None:
    for text in (f"{name}.keynet:0", f"{name}.{NODE}.keynet:0"):
        with pytest.raises(ConfigError):
            parse_authority(text)
        with pytest.raises(ConfigError):
            parse_target(text)


def test_builtin_protocols_have_no_port() -> None:
    with pytest.raises(ConfigError, match="jsonrpc has port 0"):
        parse_authority("jsonrpc.keynet:1")
    with pytest.raises(ConfigError, match="jsonrpc has port 0"):
        parse_target(f"jsonrpc.{NODE}.keynet:1")


def test_clients_say_whose_builtin_protocol() -> None:
    with pytest.raises(ConfigError, match=r"say whose: jsonrpc\.<nodeid>"):
        parse_target("jsonrpc.keynet:0")
    with pytest.raises(ConfigError):
        parse_authority(f"jsonrpc.{NODE}.keynet:0")


@pytest.mark.parametrize("port", [None, 1, 65535])
def test_what_is_asked_of_the_peer_reads_back(port: int | None) -> None:
    assert parse_authority(wire_authority(Target(NODE, None, port))) == ClientTarget(NODE, port)


def test_a_builtin_protocol_asked_of_the_peer_reads_back() -> None:
    target = Target(NODE, builtin="jsonrpc")
    assert parse_authority(wire_authority(target)) == Builtin("jsonrpc")


class TestLocate:
    async def test_a_node_alone_needs_no_look_up(self) -> None:
        assert await locate(ClientTarget(NODE, 5), no_resolver) == Target(NODE, None, 5)
        wanted = ClientTarget(NODE, None, builtin="grpc")
        assert await locate(wanted, no_resolver) == Target(NODE, builtin="grpc")

    async def test_numeric_hosts_are_not_looked_up(self) -> None:
        wanted = ClientTarget(NODE, None, Authority("2001:DB8::0:1", 4000))
        address = SocketAddress("2001:db8::1", 4000)
        assert await locate(wanted, no_resolver) == Target(NODE, address, None)

    async def test_names_are_looked_up(self) -> None:
        async def resolve(host: str, port: int) -> Sequence[SocketAddress]:
            assert (host, port) == ("home.example.org", 4000)
            return [SocketAddress("192.0.2.9", port), SocketAddress("2001:db8::9", port)]

        wanted = ClientTarget(NODE, 7, Authority("home.example.org", 4000))
        assert await locate(wanted, resolve) == Target(NODE, SocketAddress("192.0.2.9", 4000), 7)

    async def test_names_without_an_address_are_not_found(self) -> None:
        async def resolve(host: str, port: int) -> Sequence[SocketAddress]:
            return []

        with pytest.raises(LookupFailed):
            await locate(ClientTarget(NODE, 7, Authority("nowhere", 1)), resolve)

    @pytest.mark.parametrize(
        "host",
        [
            "224.0.0.1",
            "239.255.255.250",
            "255.255.255.255",
            "0.0.0.0",
            "::",
            "ff02::1",
            "::ffff:224.0.0.1",
            "::ffff:255.255.255.255",
            "::ffff:0.0.0.0",
            "evil.example.org",
        ],
    )
    async def test_addresses_of_many_or_of_none_are_refused(self, host: str) -> None:
        async def resolve(host: str, port: int) -> Sequence[SocketAddress]:
            return [SocketAddress("224.0.0.251", port)]

        with pytest.raises(ConfigError):
            await locate(ClientTarget(NODE, None, Authority(host, 4000)), resolve)

    async def test_port_0_is_refused(self) -> None:
        with pytest.raises(ConfigError):
            await locate(ClientTarget(NODE, None, Authority("192.0.2.1", 0)), no_resolver)
