"""One method of a service, as every binding and every caller knows it: name, kind, types. Pure.

Methods are read from signatures by `service.py`; `untyped` makes one of a name alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, ParamSpec, TypeVar

from keynet.errors import ConfigError

R_co = TypeVar("R_co", covariant=True)
P = ParamSpec("P")

MAX_NAME = 200
"""Characters of a method's full name."""


class Kind(Enum):
    """Who streams: nobody, the server, the client, or both."""

    UNARY = "unary"
    SERVER_STREAM = "server_stream"
    CLIENT_STREAM = "client_stream"
    DUPLEX = "duplex"

    @property
    def client_streams(self) -> bool:
        return self in (Kind.CLIENT_STREAM, Kind.DUPLEX)

    @property
    def server_streams(self) -> bool:
        return self in (Kind.SERVER_STREAM, Kind.DUPLEX)


@dataclass(frozen=True, slots=True)
class Method(Generic[P, R_co]):
    """One method of a service. Calling it calls the function itself, with no network."""

    service: str
    """The service's name on the wire: `greeter`, or `greeter.v2`."""
    name: str
    kind: Kind
    params: type[Any]
    """A msgspec.Struct with a field for each parameter; `dict` when the method is untyped."""
    item: Any
    """The type of each item that the client streams; None when it streams none."""
    result: Any
    """The type of the result, or of each item that the server streams."""
    function: Callable[P, R_co] | None
    """None when only the name is known."""
    call_parameter: str | None = None
    """The parameter that takes the `Call`."""
    items_parameter: str | None = None
    """The parameter that takes the client's stream."""
    doc: str = ""
    """The function's docstring."""

    @property
    def full_name(self) -> str:
        """What callers ask for: `greeter.hello`."""
        return f"{self.service}.{self.name}"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        if self.function is None:
            raise ConfigError(f"{self.full_name} is known by name only")
        return self.function(*args, **kwargs)


def untyped(full_name: str, kind: Kind) -> Method[..., Any]:
    """A method known by its name alone: parameters are a dict, results what the codec makes."""
    service, dot, name = full_name.rpartition(".")
    if not dot or not service or not name or len(full_name) > MAX_NAME or not full_name.isascii():
        raise ConfigError(f"a method is named service.method, not {full_name!r}")
    item = Any if kind.client_streams else None
    return Method(service, name, kind, dict, item, Any, None)
