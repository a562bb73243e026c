"""Service definitions: plain typed functions under a name and a version. No wire is known here.

    greeter = Service("greeter")

    @greeter.method
    async def hello(name: str) -> str:
        return f"hello {name}"

    @greeter.method
    async def count(to: int) -> AsyncIterator[int]:
        for n in range(to):
            yield n

What a signature means is in `signature.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

from keynet.errors import ConfigError
from keynet.rpc.method import Method
from keynet.rpc.signature import NAME, read_method

R = TypeVar("R")
P = ParamSpec("P")

_RESERVED = frozenset({"rpc"})
"""JSON-RPC 2.0 section 4 keeps method names that begin with `rpc.` for itself."""


class Service:
    """A named, versioned set of methods; the same object serves and describes."""

    def __init__(self, name: str, *, version: int = 1, public: bool = False) -> None:
        """`version` counts breaking changes: version 1 is `name` on the wire, later ones are
        `name.v2` and so on, and may be served side by side. A `public` service answers every
        authenticated peer, rate-limited; others answer whom access rules name.

        Raises ConfigError.
        """
        if not NAME.fullmatch(name) or name in _RESERVED:
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
        made = read_method(self.name, function)
        if made.name in self._methods:
            raise ConfigError(f"{made.full_name} is defined twice")
        self._methods[made.name] = made
        return made
