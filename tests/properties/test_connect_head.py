"""CONNECT heads and targets under arbitrary bytes: read, or refused with the documented error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keynet.address import Authority, NodeId
from keynet.errors import ConfigError
from keynet.rpc.proxy.api import Target
from keynet.rpc.proxy.credentials import Credentials
from keynet.rpc.proxy.head import (
    MAX_HEAD,
    MAX_REASON,
    Answer,
    AnswerReader,
    BadHead,
    ConnectHead,
    RequestReader,
    brief_refusal,
    refusal,
)
from keynet.rpc.proxy.target import ClientTarget, parse_authority, parse_target, wire_authority

T = TypeVar("T")

node_ids = st.binary(min_size=32, max_size=32).map(NodeId)
lines = st.one_of(
    st.sampled_from(
        [
            b"CONNECT a.keynet:1 HTTP/1.1",
            b"GET / HTTP/1.0",
            b"HTTP/1.1 200 ok",
            b"HTTP/1.1 103 wait",
            b"HTTP/1.1 407",
            b"Host: a",
            b"Content-Length: 9",
            b"Transfer-Encoding: chunked",
            b"Proxy-Authorization: Basic x",
            b" folded",
            b"",
        ]
    ),
    st.binary(max_size=40),
)
heads = st.lists(lines, max_size=12).flatmap(
    lambda parts: st.sampled_from([b"\r\n", b"\n"]).map(lambda end: end.join(parts))
)
"""Bytes that look like heads, more or less."""
hostile = st.one_of(heads, st.binary(max_size=300))


def fed(reader_feed: Callable[[bytes], T | None], pieces: Sequence[bytes]) -> T | int | None:
    """What comes of feeding `pieces`: the head, the status of its refusal, or None so far."""
    try:
        for index, piece in enumerate(pieces):
            head = reader_feed(piece)
            if head is not None:
                return _with_rest(head, b"".join(pieces[index + 1 :]))
    except BadHead as error:
        return error.status
    return None


def _with_rest(head: T, rest: bytes) -> T:
    if isinstance(head, ConnectHead):
        return ConnectHead(head.target, head.credentials, head.early + rest)  # type: ignore[return-value]
    assert isinstance(head, Answer)
    return Answer(head.status, head.reason, head.early + rest)  # type: ignore[return-value]


@settings(deadline=None)
@given(data=hostile)
def test_a_request_is_read_or_refused_whole_and_byte_by_byte_alike(data: bytes) -> None:
    whole = fed(RequestReader().feed, [data] if data else [])
    assert whole == fed(RequestReader().feed, [data[i : i + 1] for i in range(len(data))])


@settings(deadline=None)
@given(data=hostile)
def test_an_answer_is_read_or_refused_whole_and_byte_by_byte_alike(data: bytes) -> None:
    whole = fed(AnswerReader("x:1").feed, [data] if data else [])
    assert whole == fed(AnswerReader("x:1").feed, [data[i : i + 1] for i in range(len(data))])


@settings(deadline=None)
@given(piece=st.binary(min_size=100, max_size=4000), start=heads)
def test_what_goes_on_for_ever_is_refused_in_the_end(piece: bytes, start: bytes) -> None:
    for reader in (RequestReader(), AnswerReader("x:1")):
        pieces = [start] + [piece] * (2 * MAX_HEAD // len(piece) + 2)
        assert fed(reader.feed, pieces) is not None


@settings(deadline=None)
@given(node_id=node_ids, port=st.integers(0, 65535), early=st.binary(max_size=100))
def test_what_this_side_asks_the_other_reads(node_id: NodeId, port: int, early: bytes) -> None:
    target = Target(node_id, None, port or None)
    head = RequestReader().feed(AnswerReader(wire_authority(target)).request + early)
    assert head == ConnectHead(wire_authority(target), (), early)
    assert parse_authority(head.target) == ClientTarget(node_id, port or None)


@settings(deadline=None)
@given(status=st.sampled_from([400, 403, 404, 502, 503, 504]), text=st.text(), early=st.binary())
def test_what_a_peer_refuses_with_this_side_reads(status: int, text: str, early: bytes) -> None:
    answer = AnswerReader("x:1").feed(brief_refusal(status, text) + early)
    assert answer is not None
    assert answer.status == status
    assert len(answer.reason) <= MAX_REASON
    assert answer.reason.isascii()
    assert answer.reason.isprintable()


@settings(deadline=None)
@given(text=st.text())
def test_no_text_gets_out_of_a_refusals_body(text: str) -> None:
    head, _, body = refusal(502, text).partition(b"\r\n\r\n")
    assert head.count(b"\r\n") == 4 - 1
    assert body.count(b"\n") == 1
    assert f"Content-Length: {len(body)}".encode() in head


@settings(deadline=None)
@given(
    text=st.one_of(
        st.text(),
        st.from_regex(r"[\[\]0-9a-v:.%]{0,60}:[0-9]{0,6}(/\?nodeId=[0-9a-v]{52})?(&\w+=\w*)?"),
    )
)
def test_a_target_is_read_or_refused(text: str) -> None:
    for parse in (parse_target, parse_authority):
        try:
            parsed = parse(text)
        except ConfigError:
            continue
        assert not isinstance(parsed, ClientTarget) or parsed.port is None or parsed.port > 0


@settings(deadline=None)
@given(
    node_id=node_ids,
    host=st.one_of(
        st.ip_addresses().map(str), st.from_regex(r"[a-z]([a-z0-9-]{0,10}\.)*[a-z]", fullmatch=True)
    ),
    port=st.integers(0, 65535),
    service=st.one_of(st.none(), st.integers(1, 65535)),
    brackets=st.booleans(),
)
def test_addresses_are_read_with_brackets_and_without(
    node_id: NodeId, host: str, port: int, service: int | None, brackets: bool
) -> None:
    written = f"[{host}]" if brackets and ":" in host else host
    query = f"?nodeId={node_id}" + (f"&service={service}" if service is not None else "")
    parsed = parse_target(f"{written}:{port}/{query}")
    assert parsed == ClientTarget(node_id, service, Authority(host, port))


@settings(deadline=None)
@given(value=st.one_of(st.binary(), st.binary().map(lambda b: b"Basic " + b)))
def test_no_guess_is_let_in(value: bytes) -> None:
    with pytest.raises(BadHead, match="wrong"):
        Credentials("a token that no strategy makes up").check([value])
