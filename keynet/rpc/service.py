"""Service definitions: plain typed functions, and what is read from their signatures.

Nothing here knows a wire. A `Service` has a name, a version and methods; a `Method` says its kind
and its types, which the bindings encode with msgspec.

    greeter = Service("greeter")

    @greeter.method
    async def hello(name: str) -> str:
        return f"hello {name}"

    @greeter.method
    async def count(to: int) -> AsyncIterator[int]:
        for n in range(to):
            yield n
"""

from __future__ import annotations

import collections.abc
import inspect
import re
import typing
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import msgspec

from keynet.errors import ConfigError
from keynet.rpc.api import Call
from keynet.rpc.method import Kind, Method

R = TypeVar("R")
P = ParamSpec("P")

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}", re.ASCII)
_VERSION = re.compile(r"v[0-9]+", re.ASCII)
"""No name of a method: in a rule, `greeter.v2` is a service."""
_RESERVED = frozenset({"rpc"})
"""JSON-RPC 2.0 section 4 keeps method names that begin with `rpc.` for itself."""

_STREAMS: tuple[Any, ...] = (
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
)


class Service:
    """A named, versioned set of methods; the same object serves and describes."""

    def __init__(self, name: str, *, version: int = 1, public: bool = False) -> None:
        """`version` counts breaking changes: version 1 is `name` on the wire, later ones are
        `name.v2` and so on, and may be served side by side. A `public` service answers every
        authenticated peer, rate-limited; others answer whom access rules name.

        Raises ConfigError.
        """
        if not _NAME.fullmatch(name) or name in _RESERVED:
            raise ConfigError(
                f"a service is named in lower-case letters, digits and underscores, not {name!r}"
            )
        if version < 1:
            raise ConfigError(f"a version is 1 or more, not {version}")
        self.name = name if version == 1 else f"{name}.v{version}"
        """The name on the wire."""
        self.public = public
        self._methods: dict[str, Method[..., Any]] = {}

    def __iter__(self) -> Iterator[Method[..., Any]]:
        return iter(self._methods.values())

    def __getitem__(self, name: str) -> Method[..., Any]:
        return self._methods[name]

    def __len__(self) -> int:
        return len(self._methods)

    def find(self, name: str) -> Method[..., Any] | None:
        """The method of that name, or None."""
        return self._methods.get(name)

    def method(self, function: Callable[P, R]) -> Method[P, R]:
        """Add a function or bound method under its own name; use it as a decorator.

        Raises ConfigError when its signature cannot be carried.
        """
        made = _read(self.name, function)
        if made.name in self._methods:
            raise ConfigError(f"{made.full_name} is defined twice")
        self._methods[made.name] = made
        return made


def _read(service: str, function: Callable[P, R]) -> Method[P, R]:
    name = function.__name__
    where = f"{service}.{name}"
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{where}: a method is named in lower-case letters, digits, underscores")
    hints = _hints(where, function)
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    call_parameter = items_parameter = None
    item: Any = None
    for parameter in inspect.signature(function).parameters.values():
        hint = _hint_of(where, parameter, hints)
        if hint is Call:
            call_parameter = parameter.name
        elif (streamed := _streamed(hint)) is not None:
            if items_parameter is not None:
                raise ConfigError(f"{where}: a client streams once; take one AsyncIterator")
            items_parameter, item = parameter.name, streamed
        elif parameter.default is inspect.Parameter.empty:
            fields.append((parameter.name, hint))
        else:
            fields.append((parameter.name, hint, parameter.default))
    result, server_streams = _result(where, function, hints)
    kind = _kind(items_parameter is not None, server_streams)
    params = _params_struct(where, name, fields)
    _check_carried(where, item, result)
    doc = inspect.getdoc(function) or ""
    return Method(
        service, name, kind, params, item, result, function, call_parameter, items_parameter, doc
    )


def _hints(where: str, function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        raise ConfigError(f"{where}: its annotations cannot be read: {error}") from error


def _hint_of(where: str, parameter: inspect.Parameter, hints: dict[str, Any]) -> Any:
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise ConfigError(f"{where}: parameters have names; {parameter} has none on the wire")
    if parameter.name not in hints:
        raise ConfigError(f"{where}: parameter {parameter.name} needs a type")
    return hints[parameter.name]


def _streamed(hint: Any) -> Any:
    """T, when `hint` is an async iterator of T; else None."""
    if typing.get_origin(hint) in _STREAMS:
        return typing.get_args(hint)[0]
    return Any if hint in _STREAMS else None


def _result(where: str, function: Callable[..., Any], hints: dict[str, Any]) -> tuple[Any, bool]:
    if "return" not in hints:
        raise ConfigError(f"{where} needs a return type")
    streamed = _streamed(hints["return"])
    if inspect.iscoroutinefunction(function):
        if streamed is not None:
            raise ConfigError(f"{where} returns a stream: yield its items, or leave out `async`")
        return hints["return"], False
    if streamed is None:
        raise ConfigError(f"{where} must be an async function or an async generator")
    return streamed, True


def _kind(client_streams: bool, server_streams: bool) -> Kind:
    if client_streams:
        return Kind.DUPLEX if server_streams else Kind.CLIENT_STREAM
    return Kind.SERVER_STREAM if server_streams else Kind.UNARY


def _params_struct(where: str, name: str, fields: list[Any]) -> type[msgspec.Struct]:
    try:
        made = msgspec.defstruct(f"{name}_params", fields, kw_only=True, forbid_unknown_fields=True)
        msgspec.json.Decoder(made)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: its parameters cannot be carried: {error}") from error
    return made


def _check_carried(where: str, *types: Any) -> None:
    for one in types:
        try:
            msgspec.json.Decoder(one)
            msgspec.msgpack.Decoder(one)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{where}: {one} cannot be carried: {error}") from error
