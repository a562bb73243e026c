"""CONNECT heads: what is read, what is refused and what is written."""

from __future__ import annotations

import pytest

from keynet.rpc.proxy.head import (
    MAX_HEAD,
    AnswerReader,
    BadHead,
    RequestReader,
    brief_refusal,
    refusal,
)

NODE = "0" * 52
# What real clients send, as captured: grpcio 1.85, grpc-js 1.14 (IPv6 without brackets), curl 7.88.
GRPCIO = (
    f"CONNECT {NODE}.keynet:443 HTTP/1.1\r\nHost: {NODE}.keynet:443\r\n"
    "User-Agent: grpc-httpcli/0.0\r\nProxy-Authorization: Basic a2V5bmV0OnQ=\r\n\r\n"
)
GRPC_JS = "CONNECT ::1:99 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
CURL = (
    f"CONNECT {NODE}.keynet:80 HTTP/1.1\r\nHost: {NODE}.keynet:80\r\n"
    "User-Agent: curl/7.88.1\r\nProxy-Connection: Keep-Alive\r\n\r\n"
)


def status_of(data: bytes) -> int:
    with pytest.raises(BadHead) as caught:
        RequestReader().feed(data)
    return caught.value.status


@pytest.mark.parametrize(
    ("text", "target"),
    [(GRPCIO, f"{NODE}.keynet:443"), (GRPC_JS, "::1:99"), (CURL, f"{NODE}.keynet:80")],
)
def test_heads_of_real_clients_are_read(text: str, target: str) -> None:
    head = RequestReader().feed(text.encode())
    assert head is not None
    assert head.target == target
    assert head.early == b""


def test_a_head_is_read_byte_by_byte() -> None:
    reader = RequestReader()
    data = GRPCIO.encode()
    assert all(reader.feed(data[i : i + 1]) is None for i in range(len(data) - 1))
    head = reader.feed(data[-1:])
    assert head is not None
    assert head.credentials == (b"Basic a2V5bmV0OnQ=",)


def test_bytes_behind_the_head_are_kept() -> None:
    head = RequestReader().feed(GRPCIO.encode() + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert head is not None
    assert head.early == b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def test_early_bytes_do_not_count_as_head() -> None:
    head = RequestReader().feed(CURL.encode() + b"x" * 2 * MAX_HEAD)
    assert head is not None
    assert len(head.early) == 2 * MAX_HEAD


def test_credentials_do_not_show_in_a_repr() -> None:
    assert "a2V5bmV0OnQ" not in repr(RequestReader().feed(GRPCIO.encode()))


@pytest.mark.parametrize(
    "data",
    [
        b"GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"connect x.keynet:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_anything_but_connect_is_405(data: bytes) -> None:
    assert status_of(data) == 405


@pytest.mark.parametrize(
    "data",
    [
        b"CONNECT x:1 HTTP/1.1\r\n\r\n",  # no Host
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"CONNECT HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS, not HTTP\r\n\r\n",
        b"SSH-2.0-client\r\n\r\n",
    ],
)
def test_malformed_heads_are_400(data: bytes) -> None:
    assert status_of(data) == 400


def test_a_head_of_just_the_limit_is_read_and_one_byte_more_is_431() -> None:
    start, end = b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\nPad: ", b"\r\n\r\n"
    padding = MAX_HEAD - len(start) - len(end)
    assert RequestReader().feed(start + b"a" * padding + end) is not None
    assert status_of(start + b"a" * (padding + 1) + end) == 431


def test_a_large_head_is_431_whatever_else_is_wrong_with_it() -> None:
    no_host = b"CONNECT a:1 HTTP/1.1\r\nX: " + b"a" * 20000 + b"\r\n\r\n"
    assert status_of(no_host) == 431
    reader = RequestReader()
    assert reader.feed(no_host[:MAX_HEAD]) is None
    with pytest.raises(BadHead) as caught:
        reader.feed(no_host[MAX_HEAD:])
    assert caught.value.status == 431
    assert status_of(b"CONNECT a:1 HTTP/1.1\r\n\r\n" + b"a" * 20000) == 400, "no part of the head"


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"'\x16\x03\x01\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nb c: d\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    ],
)
def test_what_came_is_not_quoted_as_python_writes_it(data: bytes) -> None:
    with pytest.raises(BadHead) as caught:
        RequestReader().feed(data)
    assert "b'" not in str(caught.value)
    assert "bytearray" not in str(caught.value)
    assert str(caught.value).startswith("malformed head: ")


def test_an_endless_head_is_431_while_it_comes() -> None:
    reader = RequestReader()
    reader.feed(b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\nPad: ")
    with pytest.raises(BadHead) as caught:  # noqa: PT012 (which of them raises is the proxy's)
        for _ in range(20):
            assert reader.feed(b"a" * 1024) is None
    assert caught.value.status == 431


class TestAnswers:
    def test_the_request_is_fresh_and_nothing_else(self) -> None:
        request = AnswerReader(f"{NODE}.keynet:5").request
        assert (
            request == f"CONNECT {NODE}.keynet:5 HTTP/1.1\r\nHost: {NODE}.keynet:5\r\n\r\n".encode()
        )

    def test_200_and_what_comes_behind_it(self) -> None:
        answer = AnswerReader("x.keynet:5").feed(b"HTTP/1.1 200 ok\r\n\r\nSSH-2.0-server\r\n")
        assert answer is not None
        assert (answer.status, answer.early) == (200, b"SSH-2.0-server\r\n")

    def test_the_reason_is_made_harmless(self) -> None:
        answer = AnswerReader("x:5").feed(b"HTTP/1.1 403 no\xff\x80 way\r\n\r\n")
        assert answer is not None
        assert answer.reason == "no?? way"

    def test_what_a_reverse_proxy_refuses_with_is_read(self) -> None:
        answer = AnswerReader("x:5").feed(brief_refusal(403, "not\r\nyou \x1b[31m"))
        assert answer is not None
        assert (answer.status, answer.reason) == (403, "not??you ?[31m")

    @pytest.mark.parametrize(
        "data",
        [
            b"SSH-2.0-server\r\n\r\n",
            b"\0" * 100 + b"\r\n\r\n",
            b"HTTP/1.1 200 ok\r\nPad: " + b"a" * 20000,
        ],
    )
    def test_anything_else_is_502(self, data: bytes) -> None:
        with pytest.raises(BadHead) as caught:
            AnswerReader("x:5").feed(data)
        assert caught.value.status == 502

    def test_endless_informational_answers_are_502(self) -> None:
        reader = AnswerReader("x:5")
        with pytest.raises(BadHead):  # noqa: PT012
            for _ in range(2000):
                assert reader.feed(b"HTTP/1.1 103 Early Hints\r\n\r\n") is None


def test_a_refusal_is_whole_and_closes() -> None:
    head, _, body = refusal(403, "not you").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b"Connection: close" in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert body == b"keynet: not you\n"


def test_407_says_which_credentials_and_405_what_is_allowed() -> None:
    assert b"\r\nProxy-Authenticate: Basic" in refusal(407, "")
    assert b"\r\nProxy-Authenticate: Bearer" in refusal(407, "")
    assert b"\r\nAllow: CONNECT\r\n" in refusal(405, "")


@pytest.mark.parametrize("status", [400, 403, 404, 405, 407, 431, 502, 503, 504, 526])
def test_every_status_has_a_phrase(status: int) -> None:
    assert refusal(status, "x").split(b"\r\n")[0].decode().split(" ", 2)[2]
