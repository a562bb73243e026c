"""Reading settings: every value's language, TOML files, flags on top, and errors that help."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keynet.address import Authority, NodeId, SocketAddress
from keynet.config import (
    Allow,
    AllowCalls,
    Config,
    Forward,
    Service,
    ServiceObject,
    StaticPeer,
    UnixPath,
    read,
)
from keynet.config.values import is_loopback, listen_address, local_address, proxy_token
from keynet.errors import ConfigError

NODE = NodeId(bytes(range(32)))
OTHER = NodeId(bytes(32))


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (Service.parse, "50051=127.0.0.1:8080", Service(50051, Authority("127.0.0.1", 8080))),
        (Service.parse, "1=[::1]:2", Service(1, Authority("::1", 2))),
        (Service.parse, "22=unix:/run/a=b", Service(22, UnixPath("/run/a=b"))),
        (Allow.parse, str(NODE), Allow(NODE, None)),
        (Allow.parse, f"{NODE}=1,2", Allow(NODE, frozenset({1, 2}))),
        (AllowCalls.parse, str(NODE), AllowCalls(NODE, None)),
        (AllowCalls.parse, f"{NODE}=a.v2,b.*", AllowCalls(NODE, frozenset({"a.v2", "b.*"}))),
        (AllowCalls.parse, f"{NODE}=pkg.Greeter", AllowCalls(NODE, frozenset({"pkg.Greeter"}))),
        (ServiceObject.parse, "a.b:c.d", ServiceObject("a.b", "c.d")),
        (StaticPeer.parse, f"{NODE}@a.example:9", StaticPeer(NODE, Authority("a.example", 9))),
        (StaticPeer.parse, f"{NODE}@[::1]:9", StaticPeer(NODE, Authority("::1", 9))),
        (Forward.parse, f"22={NODE}:5", Forward(Authority("127.0.0.1", 22), NODE, 5)),
        (Forward.parse, f"0.0.0.0:22={NODE}:5", Forward(Authority("0.0.0.0", 22), NODE, 5)),
        (Forward.parse, f"unix:/a={NODE}:5", Forward(UnixPath("/a"), NODE, 5)),
        (Forward.parse, f"22={NODE}:grpc", Forward(Authority("127.0.0.1", 22), NODE, "grpc")),
        (local_address, "unix:rel/path", UnixPath("rel/path")),
        (listen_address, "localhost:7", SocketAddress("127.0.0.1", 7)),
        (listen_address, "[::]:0", SocketAddress("::", 0)),
    ],
)
def test_values(parse: Callable[[str], Any], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "complaint"),
    [
        (Service.parse, "8080", "PORT=HOST:PORT"),
        (Service.parse, "0=a:1", "from 1 to 65535"),
        (Service.parse, "65536=a:1", "from 1 to 65535"),
        (Service.parse, "٣=a:1", "from 1 to 65535"),
        (Service.parse, "1=a", "HOST:PORT"),
        (Service.parse, "1=a:0", "port 0"),
        (Service.parse, "1=unix:", "unix:PATH"),
        (Service.parse, "1=unix:" + "x" * 200, "at most"),
        (Allow.parse, "nobody", "52 characters"),
        (Allow.parse, f"{NODE}=", "from 1 to 65535"),
        (Allow.parse, f"{NODE}=1,,2", "from 1 to 65535"),
        (AllowCalls.parse, f"{NODE}=", r"SERVICE or SERVICE\.METHOD"),
        (AllowCalls.parse, f"{NODE}=a,,b", r"SERVICE or SERVICE\.METHOD"),
        (AllowCalls.parse, f"{NODE}=*", r"SERVICE or SERVICE\.METHOD"),
        (AllowCalls.parse, f"{NODE}=a.*.b", r"SERVICE or SERVICE\.METHOD"),
        (ServiceObject.parse, "a", "MODULE:NAME"),
        (ServiceObject.parse, "a:", "MODULE:NAME"),
        (ServiceObject.parse, "a/b.py:c", "MODULE:NAME"),
        (StaticPeer.parse, str(NODE), "NODEID@HOST:PORT"),
        (StaticPeer.parse, f"{NODE}@a:0", "port 0"),
        (StaticPeer.parse, f"{NODE}@a", "HOST:PORT"),
        (Forward.parse, f"{NODE}:5", "LOCAL=NODEID:PORT"),
        (Forward.parse, f"22={NODE}", "LOCAL=NODEID:PORT"),
        (Forward.parse, f"={NODE}:1", "HOST:PORT"),
        (Forward.parse, f"22={NODE}:Grpc", "1 to 65535"),
        (listen_address, "example.org:1", r"0\.0\.0\.0:PORT"),
        (proxy_token, "", "printable"),
        (proxy_token, "a b", "printable"),
        (proxy_token, "a\nb", "printable"),
    ],
)
def test_faulty_values(parse: Callable[[str], Any], text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        parse(text)


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("LOCALHOST:1", True),
        ("unix:/a", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("192.0.2.1:1", False),
        ("localhost.example:1", False),
    ],
)
def test_loopback(text: str, loopback: bool) -> None:
    assert is_loopback(local_address(text)) is loopback


FILE = f"""
listen = ["127.0.0.1:4100", "[::1]:4100"]
proxy = "127.0.0.1:8080"
proxy-token = "secret"
expose = ["50051=127.0.0.1:50051"]
allow = ["{NODE}=50051"]
serve = ["greeter:service"]
allow-call = ["{NODE}=greeter.hello"]
rpc = "grpc"
rpc-option = "window=1"
grace = 2
peer = "{OTHER}@192.0.2.1:4100"
transport-option = ["congestion=cubic"]
deadline = 10
connections-per-network = 8
log-level = "debug"
json = true
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keynet.toml"
    path.write_text(FILE)
    return path


def test_a_file(file: Path) -> None:
    assert read(file, {}) == Config(
        listen=(SocketAddress("127.0.0.1", 4100), SocketAddress("::1", 4100)),
        proxy=Authority("127.0.0.1", 8080),
        proxy_token="secret",
        expose=(Service(50051, Authority("127.0.0.1", 50051)),),
        allow=(Allow(NODE, frozenset({50051})),),
        serve=(ServiceObject("greeter", "service"),),
        allow_call=(AllowCalls(NODE, frozenset({"greeter.hello"})),),
        rpc="grpc",
        rpc_option=(("window", "1"),),
        grace=2.0,
        peer=(StaticPeer(OTHER, Authority("192.0.2.1", 4100)),),
        transport_option=(("congestion", "cubic"),),
        deadline=10.0,
        connections_per_network=8,
        log_level="debug",
        json=True,
    )


def test_flags_win(file: Path) -> None:
    flags = {
        "listen": ["127.0.0.1:1"],
        "allow": ["any"],
        "allow_call": ["any"],
        "proxy": None,
        "expose": [],
        "json": False,
    }
    config = read(file, flags)
    assert config.listen == (SocketAddress("127.0.0.1", 1),)
    assert config.allow == config.allow_call == "any"
    assert str(config.proxy) == "127.0.0.1:8080"
    assert len(config.expose) == 1
    assert config.json


def test_defaults() -> None:
    assert read(None, {}) == Config()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nonsense = 1", r"k\.toml: there is no setting 'nonsense'; remove it.*listen, proxy"),
        ("listen = 7", r"k\.toml: listen: expected text"),
        ("listen = ['x']", r"k\.toml: listen: expected HOST:PORT"),
        ("json = 1", r"k\.toml: json: expected true or false"),
        ("deadline = 0", r"k\.toml: deadline: expected a number of seconds"),
        ("deadline = true", r"k\.toml: deadline: expected a number of seconds"),
        ("deadline = nan", r"k\.toml: deadline: expected a number of seconds"),
        ("connections-per-network = 0", r"k\.toml: connections-per-network: expected a number"),
        ("connections-per-network = true", r"connections-per-network: expected a number from 1"),
        ("log-level = 'loud'", r"k\.toml: log-level: expected one of debug, info"),
        ("transport-option = ['x']", r"k\.toml: transport-option: expected KEY=VALUE"),
        ("proxy_token = 'a'\nproxy-token = 'b'", "given twice"),
        ("[[", r"k\.toml is not valid TOML"),
        ("allow = ['any', 'aaa=']", r"k\.toml: allow: 'any' allows every node: give it alone"),
        (f"peer = '{NODE}@224.0.0.1:5'", r"peer: 224\.0\.0\.1 is a multicast or broadcast address"),
        (f"peer = '{NODE}@255.255.255.255:5'", "peer: .*is a multicast or broadcast address"),
        (f"peer = '{NODE}@[::]:5'", r"peer: \[::\]:5 is not an address that can be reached"),
        ("proxy = '0.0.0.0:1'", "needs a token of its own: give --proxy-token"),
        ("expose = ['1=a:1', '1=b:2']", "port 1 is exposed twice, as 1=a:1 and 1=b:2"),
    ],
)
def test_faulty_files(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "k.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        read(path, {})


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "k.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read(tmp_path / "k.toml", {})


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the configuration file .*No such file"):
        read(tmp_path / "none.toml", {})


def test_a_faulty_flag_is_named() -> None:
    with pytest.raises(ConfigError, match="--expose: expected PORT=HOST:PORT"):
        read(None, {"expose": ["x"]})


def test_a_proxy_open_to_the_network_is_fine_with_a_token() -> None:
    assert read(None, {"proxy": "0.0.0.0:1", "proxy_token": "t"}).proxy_token == "t"


def test_an_alternate_address_is_a_seeds() -> None:
    with pytest.raises(ConfigError, match="keynet seed"):
        Config.of(alternate="127.0.0.2:9")
    wanted = Config.of(alternate="127.0.0.2:9", seeding=True)
    assert wanted.alternate == SocketAddress("127.0.0.2", 9)


def test_a_flag_of_zero_is_a_flag() -> None:
    with pytest.raises(ConfigError, match="deadline"):
        read(None, {"deadline": 0.0})
