"""Both ways of asking OpenSSL give the same bytes and tell the same ends."""

from __future__ import annotations

import os

import pytest
from OpenSSL import SSL

from keynet.identity import Identity
from keynet.transport import openssl
from keynet.transport.openssl import (
    put_ciphertext,
    read_records,
    take_ciphertext,
    write_records,
)
from keynet.transport.tls import TlsChannel
from tests.unit.transport.channels import connected

CLIENT, SERVER = Identity.generate(), Identity.generate()


@pytest.fixture(params=["direct", "public"])
def ends(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[TlsChannel, SSL.Connection]:
    """A client, and the bare connection of its server."""
    assert openssl.DIRECT, "this pyOpenSSL hides what the fast way needs"
    monkeypatch.setattr(openssl, "DIRECT", request.param == "direct")
    client, server = connected(CLIENT, SERVER)
    while server.pending:
        client.feed(server.pull(1 << 16))
    return client, server._connection


def test_reads_across_records_and_says_when_nothing_is_left(
    ends: tuple[TlsChannel, SSL.Connection],
) -> None:
    client, connection = ends
    sent = os.urandom(40_000)
    client.write(sent)
    connection.bio_write(client.pull(1 << 20))
    first, error = read_records(connection, 20_000)
    assert (first, error) == (sent[:20_000], None)
    rest, error = read_records(connection, 1 << 18)
    assert rest == sent[20_000:]
    assert isinstance(error, SSL.WantReadError)


def test_tells_the_clean_end(ends: tuple[TlsChannel, SSL.Connection]) -> None:
    client, connection = ends
    client.write(b"last words")
    client.write_eof()
    connection.bio_write(client.pull(1 << 20))
    data, error = read_records(connection, 1 << 18)
    assert data == b"last words"
    assert isinstance(error, SSL.ZeroReturnError)


def test_tells_a_broken_record(ends: tuple[TlsChannel, SSL.Connection]) -> None:
    client, connection = ends
    client.write(b"to be broken")
    wire = bytearray(client.pull(1 << 20))
    wire[-1] ^= 1
    connection.bio_write(bytes(wire))
    data, error = read_records(connection, 1 << 18)
    assert data == b""
    assert type(error) is SSL.Error


def test_ciphertext_comes_out_in_order_and_then_nothing(
    ends: tuple[TlsChannel, SSL.Connection],
) -> None:
    client, server = ends
    server.send(b"a" * 5000)
    first = bytes(take_ciphertext(server, 3000))
    rest = bytes(take_ciphertext(server, 1 << 18))
    assert (len(first), len(rest)) == (3000, 2022)
    assert bytes(take_ciphertext(server, 100)) == b""
    client.feed(first + rest)
    assert client.read(1 << 18) == b"a" * 5000


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_whatever_holds_the_bytes_can_be_written(
    ends: tuple[TlsChannel, SSL.Connection], kind: type
) -> None:
    client, server = ends
    sent = os.urandom(40_000)
    assert write_records(server, kind(sent)) is None
    client.feed(bytes(take_ciphertext(server, 1 << 18)))
    assert client.read(1 << 18) == sent
    client.write(sent)
    put_ciphertext(server, kind(bytes(client.pull(1 << 18))))
    assert read_records(server, 40_000) == (sent, None)


def test_a_write_after_the_own_end_is_told(ends: tuple[TlsChannel, SSL.Connection]) -> None:
    _, server = ends
    server.shutdown()
    assert type(write_records(server, b"too late")) is SSL.Error
