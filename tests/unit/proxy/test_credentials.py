"""Proxy-Authorization."""

from __future__ import annotations

import base64

import pytest

from keynet.rpc.proxy.credentials import Credentials, basic
from keynet.rpc.proxy.head import BadHead


def encoded(pair: str) -> bytes:
    return b"Basic " + base64.b64encode(pair.encode())


@pytest.mark.parametrize(
    "value",
    [
        basic("s3cret").encode(),
        b"Bearer s3cret",
        b"bearer  s3cret ",
        b"BASIC " + base64.b64encode(b"keynet:s3cret"),
    ],
)
def test_the_token_is_let_in(value: bytes) -> None:
    Credentials("s3cret").check([value])


@pytest.mark.parametrize(
    "shown",
    [
        [],
        [b""],
        [b"Basic"],
        [b"Bearer"],
        [b"s3cret"],
        [b"Bearer s3cre"],
        [b"Bearer s3crett"],
        [b"Bearer keynet:s3cret"],
        [b"Digest s3cret"],
        [encoded("keynet:wrong")],
        [encoded("Keynet:s3cret")],
        [encoded("other:s3cret")],
        [encoded(":s3cret")],
        [encoded("s3cret")],
        [b"Basic \xff\xff"],
        [b"Basic s3cret"],
        [b"Bearer s3cret", b"Bearer s3cret"],
    ],
)
def test_anything_else_is_407(shown: list[bytes]) -> None:
    with pytest.raises(BadHead) as caught:
        Credentials("s3cret").check(shown)
    assert caught.value.status == 407


def test_without_a_token_nothing_is_asked() -> None:
    Credentials(None).check([])
    Credentials(None).check([b"Bearer x"])


def test_an_empty_token_is_still_a_token() -> None:
    with pytest.raises(BadHead):
        Credentials("").check([])


def test_a_repr_does_not_show_it() -> None:
    assert "s3cret" not in repr(Credentials("s3cret"))
