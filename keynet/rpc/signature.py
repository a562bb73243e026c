"""Reads a method from an async function's signature: its kind, its parameters, its types.

Whatever cannot be carried by every binding is refused here, by name, when the service is defined.
"""

from __future__ import annotations

import collections.abc
import inspect
import re
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ParamSpec, TypeVar

import msgspec

from keynet.errors import ConfigError
from keynet.rpc.api import Call
from keynet.rpc.method import Kind, Method

R = TypeVar("R")
P = ParamSpec("P")

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}", re.ASCII)
"""A service's or a method's own name."""

_VERSION = re.compile(r"v[0-9]+", re.ASCII)
"""No name of a method: `greeter.v2` is a service."""

_STREAMS: tuple[Any, ...] = (
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
)


def read_method(service: str, function: Callable[P, R]) -> Method[P, R]:
    """`function` as a method of `service`. Raises ConfigError when it cannot be carried."""
    name = _name(service, function)
    where = f"{service}.{name}"
    hints = _hints(where, function)
    taken = _Parameters(where)
    for parameter in _parameters(where, function):
        taken.add(parameter, _hint_of(where, parameter, hints))
    result, server_streams = _result(where, function, hints)
    _check_carried(where, "its result", result)
    return Method(
        service,
        name,
        _kind(taken.items_parameter is not None, server_streams),
        taken.struct(name),
        taken.item,
        result,
        function,
        taken.call_parameter,
        taken.items_parameter,
        inspect.getdoc(function) or "",
    )


@dataclass(slots=True)
class _Parameters:
    """A function's parameters, sorted by where their values come from."""

    where: str
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = field(default_factory=list)
    """Those on the wire."""
    call_parameter: str | None = None
    items_parameter: str | None = None
    item: Any = None

    def add(self, parameter: inspect.Parameter, hint: Any) -> None:
        if _plain(hint) is Call:
            self._add_call(parameter.name)
        elif streamed := _streamed(hint):
            self._add_items(parameter.name, streamed[0])
        elif parameter.default is inspect.Parameter.empty:
            _check_carried(self.where, f"parameter {parameter.name}", hint)
            self.fields.append((parameter.name, hint))
        else:
            _check_carried(self.where, f"parameter {parameter.name}", hint)
            self.fields.append((parameter.name, hint, parameter.default))

    def struct(self, name: str) -> type[msgspec.Struct]:
        """What the parameters on the wire are decoded to."""
        try:
            return msgspec.defstruct(
                f"{name}_params", self.fields, kw_only=True, forbid_unknown_fields=True
            )
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self.where}: its parameters cannot be carried: {error}") from error

    def _add_call(self, name: str) -> None:
        if self.call_parameter is not None:
            raise ConfigError(f"{self.where}: a method takes one Call")
        self.call_parameter = name

    def _add_items(self, name: str, item: Any) -> None:
        if self.items_parameter is not None:
            raise ConfigError(f"{self.where}: a client streams once; take one AsyncIterator")
        _check_carried(self.where, f"each of {name}", item)
        self.items_parameter, self.item = name, item


def _name(service: str, function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", None)
    if not isinstance(name, str):
        raise ConfigError(f"{service}: {function!r} has no name; add a function or a bound method")
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{service}.{name}: a method is named in lower-case letters, digits and underscores"
        )
    if _VERSION.fullmatch(name):
        raise ConfigError(f"{service}.{name} would be a version of {service}: choose another name")
    return name


def _hints(where: str, function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception as error:  # annotations are code, which may raise anything
        raise ConfigError(f"{where}: its annotations cannot be read: {error}") from error


def _parameters(where: str, function: Callable[..., Any]) -> Sequence[inspect.Parameter]:
    try:
        return tuple(inspect.signature(function).parameters.values())
    except ValueError as error:
        raise ConfigError(f"{where} has no signature that can be read: {error}") from error


def _hint_of(where: str, parameter: inspect.Parameter, hints: dict[str, Any]) -> Any:
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise ConfigError(f"{where}: parameters have names; {parameter} has none on the wire")
    if parameter.name not in hints:
        bound = "; of an object's method, add the bound method" if parameter.name == "self" else ""
        raise ConfigError(f"{where}: parameter {parameter.name} needs a type{bound}")
    return hints[parameter.name]


def _result(where: str, function: Callable[..., Any], hints: dict[str, Any]) -> tuple[Any, bool]:
    """The type of the result or of each item, and whether it is of each item."""
    if "return" not in hints:
        raise ConfigError(f"{where} needs a return type")
    streamed = _streamed(hints["return"])
    if inspect.iscoroutinefunction(function):
        if streamed:
            raise ConfigError(f"{where} returns a stream: yield its items, or leave out `async`")
        return hints["return"], False
    if inspect.isasyncgenfunction(function) and not streamed:
        raise ConfigError(f"{where} yields items: its return type is AsyncIterator[…]")
    if inspect.isgeneratorfunction(function) or not streamed:
        raise ConfigError(f"{where} must be an async function or an async generator")
    return streamed[0], True


def _streamed(hint: Any) -> tuple[Any, ...]:
    """(T,) when `hint` is an async iterator of T; else ()."""
    hint = _plain(hint)
    if typing.get_origin(hint) in _STREAMS:
        return typing.get_args(hint)[:1]
    return (Any,) if hint in _STREAMS else ()


def _plain(hint: Any) -> Any:
    """`hint` without what `Annotated` says about it."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint


def _kind(client_streams: bool, server_streams: bool) -> Kind:
    if client_streams:
        return Kind.DUPLEX if server_streams else Kind.CLIENT_STREAM
    return Kind.SERVER_STREAM if server_streams else Kind.UNARY


def _check_carried(where: str, what: str, hint: Any) -> None:
    """Raise ConfigError unless msgspec can carry `hint` and say so in a JSON schema.

    Without the schema, classes that msgspec does not know would pass, and fail in every call.
    """
    try:
        msgspec.json.schema_components([hint])
        msgspec.msgpack.Decoder(hint)
    except (TypeError, ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"{where}: {what} cannot be carried: {hint}: {reason}") from error
