"""What metadata may be."""

from __future__ import annotations

import pytest

from keynet.errors import ConfigError
from keynet.rpc.api import MAX_METADATA
from keynet.rpc.metadata import MAX_PAIRS, checked


@pytest.mark.parametrize(
    "pair",
    [("key", "value"), ("a_b-c.9", "two words, ~!"), ("k", ""), ("k", "x"), ("trace-bin", "x")],
)
def test_what_can_be_carried(pair: tuple[str, str]) -> None:
    assert checked([pair]) == (pair,)


def test_keys_repeat_and_keep_their_order() -> None:
    pairs = (("b", "1"), ("a", "2"), ("b", "1"))
    assert checked(iter(pairs)) == pairs


@pytest.mark.parametrize("key", ["", "Key", "a b", "é", "a:b", ":path", "a\n", "key\0"])
def test_bad_keys_are_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="metadata key"):
        checked([(key, "value")])


@pytest.mark.parametrize(
    "key", ["grpc-timeout", "keynet-kind", "te", "content-type", "user-agent", "host"]
)
def test_keys_of_grpc_http_and_keynet_are_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="taken"):
        checked([(key, "value")])


@pytest.mark.parametrize("value", ["é", "a\nb", "a\n", "\t", " a", "a ", " ", "\x7f", "\0"])
def test_bad_values_are_refused_and_not_repeated(value: str) -> None:
    with pytest.raises(ConfigError, match="value of metadata key") as caught:
        checked([("key", value)])
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("pair", ["ab", "a", ("a",), ("a", "b", "c"), ("a", b"b"), (1, "b"), 1])
def test_what_is_no_pair_of_texts_is_refused(pair: object) -> None:
    with pytest.raises(ConfigError, match="pairs of texts"):
        checked([pair])  # type: ignore[list-item]


def test_the_size_is_bounded() -> None:
    assert checked([("k", "v" * (MAX_METADATA - 1))])
    with pytest.raises(ConfigError, match="bytes of metadata"):
        checked([("k", "v" * MAX_METADATA)])


def test_the_number_is_bounded() -> None:
    assert len(checked([("k", "")] * MAX_PAIRS)) == MAX_PAIRS
    with pytest.raises(ConfigError, match="metadata pairs"):
        checked([("k", "")] * (MAX_PAIRS + 1))
