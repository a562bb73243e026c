"""Messages of service definitions: whatever comes over the wire is a value or an RpcError."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keynet.errors import RpcError
from keynet.rpc.grpc.codec import END_OF_ITEMS, decoder, encode
from keynet.rpc.status import MAX_MESSAGE, Status

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


class Point(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    x: int
    y: int = 0


@given(VALUES)
def test_values_come_back_and_never_look_like_the_end(value: Any) -> None:
    data = encode(value, 1 << 20, "it")
    assert data != END_OF_ITEMS
    assert decoder(Any, "it", Status.INTERNAL)(data) == value


@given(st.binary(max_size=64))
def test_any_bytes_are_a_value_or_an_rpc_error(data: bytes) -> None:
    error = None
    try:
        decoder(Point, "parameters", Status.INVALID_ARGUMENT)(data)
    except RpcError as raised:
        error = raised
    assert error is None or error.status == Status.INVALID_ARGUMENT
    assert error is None or len(error.message) <= MAX_MESSAGE


@pytest.mark.parametrize(
    ("value", "text"),
    [({"x": "1"}, "Expected `int`, got `str`"), ({"z": 1}, "unknown field `z`"), ({}, "`x`")],
)
def test_a_wrong_message_is_named_and_not_quoted(value: Any, text: str) -> None:
    decode = decoder(Point, "parameters", Status.INVALID_ARGUMENT)
    with pytest.raises(RpcError, match=text) as caught:
        decode(encode(value, 100, "it"))
    assert caught.value.status == Status.INVALID_ARGUMENT


def test_deep_nesting_is_refused_at_both_ends() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(RpcError, match="cannot be carried"):
        encode(deep, 1 << 20, "it")
    with pytest.raises(RpcError):
        decoder(Any, "it", Status.INTERNAL)(b"\x91" * 100_000 + b"\x90")
    while deep:  # a list that deep cannot free itself on every interpreter
        deep = deep[0]


def test_a_message_above_the_limit_is_refused_with_its_size() -> None:
    data = encode("x" * 100, 102, "an item")
    assert len(data) == 102
    with pytest.raises(RpcError, match="an item has 102 bytes, more than 101") as caught:
        encode("x" * 100, 101, "an item")
    assert caught.value.status == Status.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("value", [object(), 2**64, "\ud800"], ids=["class", "integer", "text"])
def test_what_messagepack_does_not_know_is_refused(value: Any) -> None:
    with pytest.raises(RpcError, match="cannot be carried") as caught:
        encode(value, 100, "the parameters")
    assert caught.value.status == Status.INVALID_ARGUMENT
