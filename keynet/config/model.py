"""Every setting of a node in one frozen model, and how a TOML file and flags become one.

How single values are written is in `values.py`; what a node does with them in `keynet.node`.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from keynet.address import NodeId, SocketAddress
from keynet.config.values import (
    ANY,
    Allow,
    AllowCalls,
    LocalAddress,
    Service,
    ServiceObject,
    StaticPeer,
    is_loopback,
    listen_address,
    local_address,
    proxy_token,
)
from keynet.errors import ConfigError

LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All that `keynet run` takes; the defaults make a node that only dials. Checked when built."""

    listen: tuple[SocketAddress, ...] = ()
    """UDP addresses; empty means one free port of every address family that there is."""
    proxy: LocalAddress | None = None
    """Where the forward proxy listens; None for no proxy."""
    proxy_token: str | None = None
    """What its clients must show. None: one is made and kept; a Unix socket then asks for none."""
    expose: tuple[Service, ...] = ()
    """Local servers that peers may be let in to."""
    allow: tuple[Allow, ...] | Literal["any"] = ()
    """Who may reach them: nobody by default."""
    serve: tuple[ServiceObject, ...] = ()
    """Service definitions that peers may be let to call."""
    allow_call: tuple[AllowCalls, ...] | Literal["any"] = ()
    """Who may call them: nobody by default."""
    rpc: str = "jsonrpc"
    """The RPC binding that this node calls with; it serves over this one and jsonrpc."""
    rpc_option: tuple[tuple[str, str], ...] = ()
    """Settings for that binding's factory."""
    peer: tuple[StaticPeer, ...] = ()
    """Peers whose addresses are known outright."""
    seed: tuple[StaticPeer, ...] = ()
    """Seeds to register at, and to ask for peers whose addresses are not known."""
    seeding: bool = False
    """Be a seed: register nodes, carry their offers, tell strangers where they come from."""
    alternate: SocketAddress | None = None
    """A seed's second IP address and port, from which nodes learn how their NATs behave."""
    deny: tuple[NodeId, ...] = ()
    """Nodes that are not served at all, whatever the other rules say."""
    consent_interval: float = 5.0
    """Seconds between pings on the path in use: less than a NAT on it takes to forget."""
    path_timeout: float = 8.0
    """Seconds of silence after which a path is given up for another one."""
    loss_timeout: float = 15.0
    """Seconds of silence after which a peer is lost, and whoever uses it is told."""
    transport: str = "utp"
    """The transport that this node dials with."""
    transport_option: tuple[tuple[str, str], ...] = ()
    """Settings for that transport's factory."""
    deadline: float = 15.0
    """Seconds for a whole CONNECT: look-up, dial, handshake and the peer's own dial."""
    grace: float = 5.0
    """Seconds that peers' running calls have when the node closes."""
    connections_per_network: int = 256
    """Connections from one IPv4 address or IPv6 /64 that are let in: a node id costs nothing."""
    state: Path | None = None
    """The state directory; None for the platform's own place."""
    passphrase_file: Path | None = None
    """A file whose first line unlocks the keys."""
    log_level: str = "warning"
    log_json: bool = False
    """Log lines as JSON objects."""
    json: bool = False
    """Events on standard output as JSON objects, one a line."""

    def __post_init__(self) -> None:
        _check_services(self.expose)
        if self.proxy is not None and self.proxy_token is None and not is_loopback(self.proxy):
            raise ConfigError(
                f"a proxy on {self.proxy} is open to the network and needs a token of its own: "
                "give --proxy-token, or listen on 127.0.0.1 or unix:PATH"
            )
        if self.alternate is not None and not self.seeding:
            raise ConfigError("alternate is a seed's setting: run keynet seed, or set seeding too")

    @classmethod
    def of(cls, **settings: object) -> Config:
        """Settings written as on the command line: `Config.of(expose="80=127.0.0.1:8080")`.

        What may be given several times takes a list, too. Raises ConfigError.
        """
        return read(None, settings)


def read(file: Path | None, flags: Mapping[str, object]) -> Config:
    """The settings of a TOML file with those of `flags` on top.

    Both are named alike (`proxy-token` or `proxy_token`); a flag that is None or empty was not
    given, and a list of flags replaces the file's list. Raises ConfigError, which names the file
    or the flag.
    """
    values = _from_file(file) if file is not None else {}
    for key, value in flags.items():
        if value is not None and value is not False and value not in ((), []):
            values[_field(key)] = _parsed(f"--{_flag(key)}", _field(key), value)
    return Config(**values)


def _from_file(file: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {file}: {error.strerror}") from error
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are both ValueErrors
        raise ConfigError(f"{file} is not valid TOML: {error}") from error
    values: dict[str, Any] = {}
    for key, value in table.items():
        field = _field(key)
        if field not in _READERS:
            known = ", ".join(_flag(name) for name in _READERS)
            raise ConfigError(
                f"{file}: there is no setting {key!r}; remove it, or use one of {known}"
            )
        if field in values:
            raise ConfigError(f"{file}: {_flag(field)} is given twice, also as {key!r}")
        values[field] = _parsed(f"{file}: {key}", field, value)
    return values


def _parsed(where: str, field: str, value: object) -> Any:
    try:
        return _READERS[field](value)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _field(key: str) -> str:
    return key.replace("-", "_")


def _flag(key: str) -> str:
    return key.replace("_", "-")


# One reader for each setting: from what TOML or a flag holds to what the model holds.

Reader = Callable[[object], Any]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"expected text in quotes, not {value!r}")
    return value


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"expected true or false, not {value!r}")
    return value


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 3600:
        raise ConfigError(
            f"expected a number of seconds, more than 0 and at most 3600, not {value!r}"
        )
    return float(value)


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 1 << 16:
        raise ConfigError(f"expected a number from 1 to 65536, not {value!r}")
    return value


def _path(value: object) -> Path:
    return Path(_text(str(value) if isinstance(value, Path) else value)).expanduser()


def _choice(*names: str) -> Reader:
    def read_choice(value: object) -> str:
        if value not in names:
            raise ConfigError(f"expected one of {', '.join(names)}, not {value!r}")
        return str(value)

    return read_choice


def _one(parse: Callable[[str], Any]) -> Reader:
    return lambda value: parse(_text(value))


def _many(parse: Callable[[str], Any]) -> Reader:
    def read_many(value: object) -> tuple[Any, ...]:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(parse(_text(item)) for item in items)

    return read_many


def _any_or_many(parse: Callable[[str], Any]) -> Reader:
    def read_rules(value: object) -> tuple[Any, ...] | Literal["any"]:
        items = value if isinstance(value, list | tuple) else [value]
        if ANY not in items:
            return tuple(parse(_text(item)) for item in items)
        if any(item != ANY for item in items):
            raise ConfigError(
                f"{ANY!r} allows every node: give it alone, or name the nodes instead"
            )
        return ANY

    return read_rules


def _option(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise ConfigError(f"expected KEY=VALUE, not {text!r}")
    return key, value


_READERS: dict[str, Reader] = {
    "listen": _many(listen_address),
    "proxy": _one(local_address),
    "proxy_token": _one(proxy_token),
    "expose": _many(Service.parse),
    "allow": _any_or_many(Allow.parse),
    "serve": _many(ServiceObject.parse),
    "allow_call": _any_or_many(AllowCalls.parse),
    "rpc": _text,
    "rpc_option": _many(_option),
    "peer": _many(StaticPeer.parse),
    "seed": _many(StaticPeer.parse),
    "seeding": _switch,
    "alternate": _one(listen_address),
    "deny": _many(NodeId.parse),
    "consent_interval": _seconds,
    "path_timeout": _seconds,
    "loss_timeout": _seconds,
    "transport": _text,
    "transport_option": _many(_option),
    "deadline": _seconds,
    "grace": _seconds,
    "connections_per_network": _count,
    "state": _path,
    "passphrase_file": _path,
    "log_level": _choice(*LOG_LEVELS),
    "log_json": _switch,
    "json": _switch,
}
assert set(_READERS) == {field.name for field in dataclasses.fields(Config)}


def _check_services(services: tuple[Service, ...]) -> None:
    seen: dict[int, Service] = {}
    for service in services:
        if service.port in seen:
            raise ConfigError(
                f"port {service.port} is exposed twice, as {seen[service.port]} and {service}"
            )
        seen[service.port] = service
