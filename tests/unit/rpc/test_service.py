"""What is read from signatures, and which signatures cannot be carried."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import pytest

from keynet.errors import ConfigError
from keynet.rpc.api import Call
from keynet.rpc.method import MAX_NAME, Kind, Method, untyped
from keynet.rpc.service import Service


@dataclass
class Point:
    x: int
    y: int = 0


class Leaf(msgspec.Struct):
    name: str
    tags: list[str] = []


def read(function: Callable[..., Any]) -> Method[..., Any]:
    return Service("s").method(function)


def decoded(method: Method[..., Any], text: str) -> Any:
    return msgspec.json.decode(text, type=method.params)


class TestNames:
    def test_version_1_has_the_plain_name_and_later_ones_say_theirs(self) -> None:
        assert Service("greeter").name == "greeter"
        assert Service("greeter", version=2).name == "greeter.v2"

    def test_a_method_is_named_after_its_service_and_function(self) -> None:
        service = Service("greeter", version=2)

        @service.method
        async def hello(name: str) -> str:
            """Greets.

            Warmly.
            """
            return f"hello {name}"

        assert (hello.full_name, hello.doc) == ("greeter.v2.hello", "Greets.\n\nWarmly.")
        assert service["hello"] is hello
        assert service.find("hello") is hello
        assert service.find("goodbye") is None
        assert list(service) == [hello]
        assert len(service) == 1

    @pytest.mark.parametrize(
        "name", ["", "Greeter", "9", "a.b", "a-b", "é", "rpc", "a" * 64, "a\n"]
    )
    def test_bad_service_names_are_refused(self, name: str) -> None:
        with pytest.raises(ConfigError):
            Service(name)

    def test_versions_count_from_1(self) -> None:
        with pytest.raises(ConfigError, match="1 or more"):
            Service("greeter", version=0)

    def test_a_method_cannot_look_like_a_version(self) -> None:
        async def v2() -> None: ...

        with pytest.raises(ConfigError, match="version"):
            read(v2)

    def test_a_name_is_given_once(self) -> None:
        service = Service("s")

        async def hello() -> None: ...

        service.method(hello)
        with pytest.raises(ConfigError, match="twice"):
            service.method(hello)

    @pytest.mark.parametrize("name", ["Hello", "_hello", "<lambda>", "h" * 64])
    def test_bad_method_names_are_refused(self, name: str) -> None:
        async def hello() -> None: ...

        hello.__name__ = name
        with pytest.raises(ConfigError, match="named in lower-case"):
            read(hello)

    def test_what_has_no_name_is_refused(self) -> None:
        async def hello(name: str) -> None: ...

        for unnamed in (functools.partial(hello, "x"), read(hello)):
            with pytest.raises(ConfigError, match="no name"):
                read(unnamed)

    @pytest.mark.parametrize("name", ["", "hello", ".hello", "s.", "s.é", "s." + "a" * MAX_NAME])
    def test_untyped_methods_need_a_service_and_a_name(self, name: str) -> None:
        with pytest.raises(ConfigError, match="is named service"):
            untyped(name, Kind.UNARY)

    def test_an_untyped_method_takes_and_gives_anything(self) -> None:
        method = untyped("greeter.v2.hello", Kind.DUPLEX)
        assert (method.service, method.name, method.params) == ("greeter.v2", "hello", dict)
        assert (method.item, method.result) == (Any, Any)
        assert untyped("a.b", Kind.SERVER_STREAM).item is None
        with pytest.raises(ConfigError, match="by name only"):
            method()


class TestKinds:
    def test_unary(self) -> None:
        async def f(a: int) -> str:
            return str(a)

        method = read(f)
        assert (method.kind, method.item, method.result) == (Kind.UNARY, None, str)
        assert not method.kind.client_streams
        assert not method.kind.server_streams

    def test_server_stream_by_a_generator(self) -> None:
        async def f(a: int) -> AsyncIterator[str]:
            yield str(a)

        method = read(f)
        assert (method.kind, method.result) == (Kind.SERVER_STREAM, str)

    @pytest.mark.parametrize(
        "hint", [AsyncIterator[int], AsyncIterable[int], AsyncGenerator[int, None]]
    )
    def test_server_stream_by_a_plain_function_that_gives_an_iterator(self, hint: object) -> None:
        def f() -> Any: ...

        f.__annotations__["return"] = hint
        assert (read(f).kind, read(f).result) == (Kind.SERVER_STREAM, int)

    def test_client_stream(self) -> None:
        async def f(a: int, items: AsyncIterator[bytes]) -> int:
            return a

        method = read(f)
        assert (method.kind, method.item) == (Kind.CLIENT_STREAM, bytes)
        assert method.items_parameter == "items"
        assert method.params.__struct_fields__ == ("a",)

    def test_duplex(self) -> None:
        async def f(items: AsyncIterable[int]) -> AsyncIterator[str]:
            async for item in items:
                yield str(item)

        method = read(f)
        assert (method.kind, method.item, method.result) == (Kind.DUPLEX, int, str)

    def test_streams_of_none_are_streams(self) -> None:
        async def f(items: AsyncIterator[None]) -> AsyncIterator[None]:
            async for _ in items:
                yield

        assert read(f).kind is Kind.DUPLEX

    def test_streams_of_anything(self) -> None:
        async def f(items: AsyncIterator) -> AsyncIterator:  # type: ignore[type-arg]
            async for item in items:
                yield item

        assert (read(f).item, read(f).result) == (Any, Any)

    def test_annotated_streams_are_streams(self) -> None:
        async def f(items: Annotated[AsyncIterator[int], "numbers"]) -> int:
            return 1

        assert (read(f).kind, read(f).item) == (Kind.CLIENT_STREAM, int)


class TestParameters:
    def test_are_named_on_the_wire_and_typed(self) -> None:
        async def f(a: int, b: str | None, c: Point, *, d: Leaf, e: float = 0.5) -> None: ...

        params = decoded(read(f), '{"a": 1, "b": null, "c": {"x": 2}, "d": {"name": "n"}}')
        assert (params.a, params.b, params.c, params.d, params.e) == (
            *(1, None, Point(2), Leaf("n")),
            0.5,
        )

    def test_unknown_missing_and_wrong_ones_are_refused(self) -> None:
        async def f(a: int) -> None: ...

        for text in ('{"a": 1, "b": 2}', "{}", '{"a": "1"}'):
            with pytest.raises(msgspec.ValidationError):
                decoded(read(f), text)

    def test_constraints_hold(self) -> None:
        async def f(a: Annotated[int, msgspec.Meta(gt=0)]) -> None: ...

        assert decoded(read(f), '{"a": 1}').a == 1
        with pytest.raises(msgspec.ValidationError, match=">= 1"):
            decoded(read(f), '{"a": 0}')

    def test_an_empty_default_is_not_shared_between_calls(self) -> None:
        async def f(a: list[int] = []) -> None:  # noqa: B006 - what is tested
            ...

        one, other = decoded(read(f), "{}"), decoded(read(f), "{}")
        one.a.append(1)
        assert other.a == []

    def test_a_default_that_calls_would_share_is_refused(self) -> None:
        async def f(a: list[int] = [1]) -> None:  # noqa: B006 - what is tested
            ...

        with pytest.raises(ConfigError, match="cannot be carried"):
            read(f)

    def test_the_call_is_given_and_not_on_the_wire(self) -> None:
        async def f(a: int, context: Call) -> None: ...

        method = read(f)
        assert method.call_parameter == "context"
        assert method.params.__struct_fields__ == ("a",)

    def test_the_annotated_call_is_the_call(self) -> None:
        async def f(context: Annotated[Call, "who calls"]) -> None: ...

        assert read(f).call_parameter == "context"

    def test_bound_methods_hold_their_object(self) -> None:
        class Counter:
            def __init__(self) -> None:
                self.count = 0

            async def add(self, amount: int) -> int:
                self.count += amount
                return self.count

        counter = Counter()
        method = read(counter.add)
        assert method.params.__struct_fields__ == ("amount",)
        assert asyncio.run(method(amount=2)) == 2
        assert counter.count == 2

    def test_calling_a_method_calls_its_function(self) -> None:
        async def f(a: int) -> int:
            return a + 1

        assert asyncio.run(read(f)(1)) == 2


def positional_only(a: int, /) -> None: ...
def star_args(*a: int) -> None: ...
def star_kwargs(**a: int) -> None: ...
def no_hint(a) -> None: ...  # type: ignore[no-untyped-def]
def no_result(a: int): ...  # type: ignore[no-untyped-def]
def unknown_name(a: Nothing) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def unknown_attribute(a: msgspec.Nothing) -> None: ...  # type: ignore[name-defined]
def two_streams(a: AsyncIterator[int], b: AsyncIterator[int]) -> None: ...
def two_calls(a: Call, b: Call) -> None: ...
def optional_call(a: Call | None = None) -> None: ...
def optional_stream(a: AsyncIterator[int] | None = None) -> None: ...
def custom_class(a: object) -> None: ...
def function_parameter(a: Callable[[], None]) -> None: ...
def nested_custom_class(a: dict[str, list[asyncio.Event]]) -> None: ...
def ambiguous_union(a: Point | Leaf) -> None: ...
def custom_result() -> object: ...
def stream_of_custom(a: AsyncIterator[object]) -> None: ...


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (positional_only, "has none on the wire"),
        (star_args, "has none on the wire"),
        (star_kwargs, "has none on the wire"),
        (no_hint, "needs a type"),
        (no_result, "needs a return type"),
        (unknown_name, "cannot be read: name 'Nothing'"),
        (unknown_attribute, "cannot be read"),
        (two_streams, "streams once"),
        (two_calls, "one Call"),
        (optional_call, "cannot be carried"),
        (optional_stream, "cannot be carried"),
        (custom_class, "cannot be carried"),
        (function_parameter, "cannot be carried"),
        (nested_custom_class, "cannot be carried"),
        (ambiguous_union, "cannot be carried"),
        (custom_result, "cannot be carried"),
        (stream_of_custom, "cannot be carried"),
    ],
)
def test_what_cannot_be_carried_is_refused_by_name(
    function: Callable[..., Any], words: str
) -> None:
    @functools.wraps(function)
    async def asynchronous(*args: Any, **kwargs: Any) -> Any: ...

    with pytest.raises(ConfigError, match=words) as caught:
        read(asynchronous)
    assert f"s.{function.__name__}" in str(caught.value)


def test_unreadable_annotations_are_refused() -> None:
    async def f(a: int) -> None: ...

    f.__annotations__["a"] = "int["
    with pytest.raises(ConfigError, match="cannot be read"):
        read(f)


def test_what_has_no_signature_is_refused() -> None:
    with pytest.raises(ConfigError, match="signature"):
        read(max)


def test_a_function_that_is_not_asynchronous_is_refused() -> None:
    def f() -> int:
        return 1

    with pytest.raises(ConfigError, match="must be an async function"):
        read(f)


def test_a_plain_generator_is_refused() -> None:
    def f() -> Iterator[int]:
        yield 1

    f.__annotations__["return"] = AsyncIterator[int]
    with pytest.raises(ConfigError, match="must be an async function"):
        read(f)


def test_an_async_function_that_returns_a_stream_is_refused() -> None:
    async def f() -> AsyncIterator[int]:
        raise NotImplementedError

    with pytest.raises(ConfigError, match="yield its items"):
        read(f)


def test_a_generator_that_says_it_returns_one_value_is_refused() -> None:
    async def f():  # type: ignore[no-untyped-def]
        yield 1

    f.__annotations__["return"] = int
    with pytest.raises(ConfigError, match="AsyncIterator"):
        read(f)


def test_a_method_in_a_class_body_says_what_to_add_instead() -> None:
    with pytest.raises(ConfigError, match="bound method"):

        class Greeter:
            @Service("s").method
            async def hello(self, name: str) -> str:
                return name
