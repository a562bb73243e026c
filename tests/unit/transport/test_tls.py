"""TlsChannel: who is let in, what passes, how it ends, and what it says when it breaks."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from OpenSSL import SSL

from keynet import errors
from keynet.errors import HandshakeFailed, LocalProtocolError, RemoteProtocolError
from keynet.identity import Identity
from keynet.transport import tls_context
from keynet.transport.channel import SecureChannel
from keynet.transport.tls import TlsChannel
from tests.unit.identity.forge import NOW, forge
from tests.unit.transport.channels import APPLICATION, RecordForger, connected, flush, shake

ALICE = Identity.generate()
BOB = Identity.generate()


def test_both_ends_learn_who_the_other_is() -> None:
    client, server = connected(ALICE, BOB)
    assert client.established
    assert server.established
    assert client.peer is not None
    assert client.peer.chain == BOB.chain
    assert server.peer is not None
    assert server.peer.node_id == ALICE.node_id


def test_it_is_a_secure_channel() -> None:
    channel: SecureChannel = connected(ALICE, BOB)[0]
    assert channel.pending == 0


def test_only_tls_13_with_our_protocol_is_spoken() -> None:
    client, _ = connected(ALICE, BOB)
    assert client._connection.get_protocol_version_name() == "TLSv1.3"
    assert client._connection.get_alpn_proto_negotiated() == b"keynet/1"


@pytest.mark.parametrize("piece", [1, 17, 1200, 70000])
def test_the_handshake_survives_any_segmentation(piece: int) -> None:
    client = TlsChannel(ALICE, server=False, expected=BOB.node_id)
    server = TlsChannel(BOB, server=True, expected=ALICE.node_id)
    shake(client, server, piece)
    assert client.established
    assert server.established


@pytest.mark.parametrize("size", [1, 16384, 16385, 65536])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_pass_both_ways_and_pending_is_exact(size: int, kind: type) -> None:
    data = os.urandom(size)
    for sender, receiver in (connected(ALICE, BOB), connected(ALICE, BOB)[::-1]):
        sender.write(kind(data))
        pending = sender.pending
        wire = sender.pull(pending)
        assert (len(wire), sender.pending, sender.pull(100)) == (pending, 0, b"")
        receiver.feed(kind(wire))
        assert receiver.read(1 << 20) == data
        assert receiver.read(1 << 20) == b""


def test_reading_is_bounded_and_goes_on_where_it_stopped() -> None:
    client, server = connected(ALICE, BOB)
    data = os.urandom(40000)
    client.write(data)
    flush(client, server)
    pieces = [server.read(n) for n in (1, 16383, 16384, 0, 20000)]
    assert [len(piece) for piece in pieces] == [1, 16383, 16384, 0, 7232]
    assert b"".join(pieces) == data


def test_pulling_less_than_is_pending_loses_nothing() -> None:
    client, server = connected(ALICE, BOB)
    data = os.urandom(65536)
    for _ in range(3):
        client.write(data)
        before = client.pending
        server.feed(client.pull(1000))
        assert client.pending == before - 1000
    assert client.pull(0) == b""
    flush(client, server, piece=50000)
    assert server.read(1 << 20) == data * 3


def test_empty_input_is_harmless() -> None:
    client, server = connected(ALICE, BOB)
    client.write(b"")
    server.feed(b"")
    assert client.pending == 0
    assert server.read(10) == b""
    assert server.error is None


# Who is refused.


def test_a_listener_with_another_id_is_refused_before_any_byte() -> None:
    client = TlsChannel(ALICE, server=False, expected=ALICE.node_id)
    server = TlsChannel(BOB, server=True, expected=None)
    shake(client, server)
    assert type(client.error) is errors.UnclaimedNodeId
    assert not client.established
    assert client.peer is None
    assert not server.established
    assert type(server.error) is HandshakeFailed
    assert server.peer is None, "an impostor does not learn who dialled"


def test_a_dialer_with_another_id_is_refused_and_told() -> None:
    client = TlsChannel(ALICE, server=False, expected=BOB.node_id)
    server = TlsChannel(BOB, server=True, expected=BOB.node_id)
    flush(client, server)
    flush(server, client)
    client.write(b"sent in the belief of being connected")
    shake(client, server)
    assert type(server.error) is errors.UnclaimedNodeId
    assert server.peer is None
    assert server.read(100) == b""
    assert client.read(100) == b""
    assert type(client.error) is HandshakeFailed, "the alert arrives as a refusal"


def test_an_old_id_is_found_in_the_chain() -> None:
    rotated = BOB.rotate().rotate()
    client, _ = connected(ALICE, rotated, expected=BOB.node_id)
    assert client.peer is not None
    assert client.peer.node_id == rotated.node_id
    assert client.peer.matches(BOB.node_id)


KEY = BOB.private_key
FORGED = {
    errors.CertificateExpired: [forge(KEY, end=NOW - timedelta(hours=1))],
    errors.CertificateNotYetValid: [forge(KEY, start=NOW + timedelta(hours=1))],
    errors.NodeSignatureInvalid: [forge(KEY, with_extension=False)],
    errors.KeyMismatch: [forge(KEY, subject=ALICE.chain[0].subject)],
    errors.BrokenLink: [forge(KEY, ALICE.private_key)],
}


@pytest.mark.parametrize("fault", FORGED)
@pytest.mark.parametrize("server_is_bad", [True, False])
def test_each_fault_of_a_chain_is_told_apart_on_either_side(
    fault: type[errors.IdentityError], server_is_bad: bool
) -> None:
    bad = replace(BOB, chain=tuple(FORGED[fault]))
    dialer, listener = (ALICE, bad) if server_is_bad else (bad, ALICE)
    client = TlsChannel(dialer, server=False, expected=None, now=lambda: NOW)
    server = TlsChannel(listener, server=True, expected=None, now=lambda: NOW)
    if not server_is_bad:  # ALICE's real certificate is not valid at NOW
        client = TlsChannel(dialer, server=False, expected=None)
    shake(client, server)
    judge = client if server_is_bad else server
    assert type(judge.error) is fault
    assert not judge.established
    assert judge.peer is None


def test_an_expired_root_is_accepted() -> None:
    old = Identity.generate(NOW - timedelta(days=900))
    connected(ALICE, old.rotate(), expected=old.node_id)


def test_a_chain_with_strangers_behind_it_is_refused_by_both() -> None:
    padded = replace(BOB, chain=(*BOB.chain, *ALICE.chain))
    client = TlsChannel(ALICE, server=False, expected=BOB.node_id)
    shake(client, TlsChannel(padded, server=True, expected=None))
    assert type(client.error) is errors.BrokenLink
    server = TlsChannel(BOB, server=True, expected=None)
    shake(TlsChannel(padded, server=False, expected=BOB.node_id), server)
    assert type(server.error) is errors.BrokenLink


def test_a_chain_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keynet.identity.identity.MAX_CHAIN", 99)
    identity = BOB
    for _ in range(20):
        identity = identity.rotate()
    client = TlsChannel(ALICE, server=False, expected=BOB.node_id)
    shake(client, TlsChannel(identity, server=True, expected=None))
    assert type(client.error) is errors.ChainTooLong


# Peers that are not keynet.


def context(identity: Identity | None, protocols: list[bytes]) -> SSL.Context:
    made = SSL.Context(SSL.TLS_METHOD)
    made.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    if identity is not None:
        made.use_certificate(identity.chain[0])
        made.use_privatekey(identity.private_key)
    if protocols:
        made.set_alpn_protos(protocols)
    return made


def dial(server: TlsChannel, context: SSL.Context, session: object = None) -> SSL.Connection:
    """A foreign client's handshake, as far as it goes."""
    foreign = SSL.Connection(context, None)
    foreign.set_connect_state()
    if isinstance(session, SSL.Session):
        foreign.set_session(session)
    for _ in range(4):
        with contextlib.suppress(SSL.Error):
            foreign.do_handshake()
        try:
            server.feed(foreign.bio_read(65536))
        except SSL.WantReadError:
            break
        if server.pending:
            foreign.bio_write(server.pull(65536))
    return foreign


def test_a_dialer_without_a_certificate_is_refused() -> None:
    server = TlsChannel(BOB, server=True, expected=None)
    dial(server, context(None, [b"keynet/1"]))
    assert type(server.error) is errors.EmptyChain
    assert not server.established


@pytest.mark.parametrize("protocols", [[], [b"h2"]])
def test_a_dialer_of_another_protocol_is_refused(protocols: list[bytes]) -> None:
    server = TlsChannel(BOB, server=True, expected=None)
    dial(server, context(ALICE, protocols))
    assert type(server.error) is HandshakeFailed
    assert "keynet/1" in str(server.error)


def test_an_older_tls_is_refused() -> None:
    old = context(ALICE, [b"keynet/1"])
    old.set_max_proto_version(SSL.TLS1_2_VERSION)
    server = TlsChannel(BOB, server=True, expected=None)
    dial(server, old)
    assert type(server.error) is HandshakeFailed


def test_a_session_is_never_resumed_past_the_verifier() -> None:
    foreign = context(ALICE, [b"keynet/1"])
    first = dial(TlsChannel(BOB, server=True, expected=None), foreign)
    with pytest.raises(SSL.WantReadError):
        first.recv(100)  # takes the session tickets, if there are any
    server = TlsChannel(BOB, server=True, expected=None)
    dial(server, foreign, first.get_session())
    assert server.established
    assert server.peer is not None
    assert server.peer.node_id == ALICE.node_id


# The ends.


def test_half_close_lets_the_other_direction_go_on() -> None:
    client, server = connected(ALICE, BOB)
    client.write(b"request")
    client.write_eof()
    client.write_eof()
    flush(client, server)
    assert server.read(100) == b"request"
    assert server.eof_received
    assert not client.eof_received
    server.write(b"answer" * 10000)
    server.write_eof()
    flush(server, client)
    assert client.read(1 << 20) == b"answer" * 10000
    assert client.eof_received
    assert client.error is None
    assert server.error is None


def test_writing_before_and_after_is_a_bug_of_ours() -> None:
    client = TlsChannel(ALICE, server=False, expected=None)
    with pytest.raises(LocalProtocolError, match="not yet established"):
        client.write(b"early")
    with pytest.raises(LocalProtocolError, match="not yet established"):
        client.write_eof()
    client, _ = connected(ALICE, BOB)
    client.write_eof()
    with pytest.raises(LocalProtocolError, match="ended"):
        client.write(b"late")


def test_what_comes_after_the_peers_end_is_dropped() -> None:
    client, server = connected(ALICE, BOB)
    client.write_eof()
    flush(client, server)
    assert server.read(10) == b""
    server.feed(os.urandom(1000))
    assert server.read(10) == b""
    assert server.error is None


def test_a_corrupted_record_ends_the_channel_with_what_came_before_it() -> None:
    client, server = connected(ALICE, BOB)
    client.write(b"good")
    flush(client, server)
    client.write(b"bad")
    wire = bytearray(client.pull(100))
    wire[-1] ^= 1
    server.feed(wire)
    assert server.read(100) == b"good"
    assert type(server.error) is RemoteProtocolError
    assert server.error.__cause__ is not None
    assert server.pending, "the alert waits to be sent"
    server.write(b"dropped")
    server.write_eof()
    flush(server, client)
    assert client.read(100) == b""
    assert client.error is not None


def test_an_alert_after_data_is_not_taken_for_a_refused_handshake() -> None:
    client, server = connected(ALICE, BOB)
    server.write(b"data")
    flush(server, client)
    assert client.read(10) == b"data"
    server.feed(b"\x17\x03\x03\x00\x20" + bytes(32))
    server.read(10)
    flush(server, client)
    assert client.read(10) == b""
    assert type(client.error) is RemoteProtocolError


def test_a_stream_that_is_cut_is_no_clean_end() -> None:
    client, server = connected(ALICE, BOB)
    client.write(b"half a")
    flush(client, server)
    assert server.read(10) == b"half a"
    server.feed_eof()
    assert type(server.error) is errors.ConnectionLost
    assert not server.eof_received


def test_after_a_clean_end_the_streams_end_is_no_fault() -> None:
    client, server = connected(ALICE, BOB)
    client.write_eof()
    flush(client, server)
    assert server.read(10) == b""
    server.feed_eof()
    assert server.eof_received
    assert server.error is None


@pytest.mark.parametrize("piece", [1400, 65536, 1 << 20])
def test_a_slow_reader_gets_everything_through_a_small_bio(piece: int) -> None:
    client, server = connected(ALICE, BOB)
    data = os.urandom(65536)
    for _ in range(16):
        client.write(data)
    client.write_eof()
    wire = b""
    while client.pending:
        wire += client.pull(65536)
    for start in range(0, len(wire), piece):
        server.feed(memoryview(wire)[start : start + piece])
    assert server._fed < 65536 + piece, "the rest waits outside the BIO"
    got = b""
    while not server.eof_received:
        got += server.read(100_000)
        assert server.error is None
    assert got == data * 16


# Rotation, memory.


def test_a_rotation_shows_the_new_chain_on_new_connections_only() -> None:
    node = Identity.generate()
    before, _ = connected(ALICE, node)
    rotated = node.rotate()
    after, _ = connected(ALICE, rotated, expected=node.node_id)
    assert before.peer is not None
    assert after.peer is not None
    assert before.peer.node_id == node.node_id
    assert after.peer.node_id == rotated.node_id
    assert after.peer.lineage == (rotated.node_id, node.node_id)


@pytest.fixture
def settled() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("settled")
def test_contexts_are_shared_and_die_with_their_identity() -> None:
    before = len(tls_context._contexts)
    node = Identity.generate()
    for _ in range(3):
        connected(node, node)
    assert len(tls_context._contexts) == before + 1
    del node
    assert len(tls_context._contexts) == before


@pytest.mark.usefixtures("settled")
def test_a_channel_is_freed_without_the_garbage_collector() -> None:
    client, server = connected(ALICE, BOB)
    before = len(SSL.Connection._reverse_mapping)
    del client, server
    assert len(SSL.Connection._reverse_mapping) == before - 2


# A peer that asks for new keys (RFC 8446 section 4.6.3).


def forged_client() -> tuple[TlsChannel, TlsChannel, RecordForger]:
    """A client, its server, and a forger that holds the client's sending key."""
    identity = Identity.generate()
    lines: list[bytes] = []
    tls_context.context_for(identity).set_keylog_callback(lambda _, line: lines.append(line))
    client, server = connected(identity, BOB)
    [secret] = [line.split()[2] for line in lines if line.startswith(b"CLIENT_TRAFFIC_SECRET_0")]
    return client, server, RecordForger(bytes.fromhex(secret.decode()))


def test_what_is_written_after_a_key_update_comes_out_whole() -> None:
    client, server, forger = forged_client()
    server.feed(forger.key_update() + forger.seal(APPLICATION, b"under the next key"))
    assert server.read(100) == b"under the next key"
    server.write(b"answer")
    wire = b""
    while server.pending:
        wire += server.pull(server.pending)
    client.feed(wire)
    assert client.read(100) == b"answer"


def test_a_peer_that_asks_for_keys_for_ever_and_takes_none_is_dropped() -> None:
    _, server, forger = forged_client()
    server.write(b"never acknowledged")
    for _ in range(2000):
        server.feed(b"".join(forger.key_update() for _ in range(30)))
        server.feed(forger.seal(APPLICATION, b"x"))
        if server.read(10) == b"":
            break
    assert type(server.error) is RemoteProtocolError
    assert server.pending < 1 << 19
