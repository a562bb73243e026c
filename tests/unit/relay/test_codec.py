"""Messages, ChannelData, credentials and nonces, byte by byte."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from keynet.address import SocketAddress
from keynet.engine import Datagrams
from keynet.relay import channel_data, codec, tcp
from keynet.relay.codec import Class, ErrorCode, Method
from keynet.relay.credentials import (
    Credentials,
    Nonces,
    SharedSecret,
    ephemeral,
    integrity_key,
    owner_of,
)
from tests.unit.relay.pair import batch, numbered

ID = bytes(range(12))


class TestMessages:
    def test_every_peer_is_read(self) -> None:
        one = codec.encode(
            Method.CREATE_PERMISSION, Class.REQUEST, ID, {"XOR-PEER-ADDRESS": ("1.2.3.4", 5)}
        )
        attribute = one[20:]
        two = one[:2] + (len(attribute) * 2).to_bytes(2) + one[4:] + attribute
        message = codec.parse(two)
        assert message is not None
        assert message.peers == (SocketAddress("1.2.3.4", 5),) * 2

    def test_unknown_attributes_that_must_be_understood_are_told(self) -> None:
        plain = codec.encode(Method.ALLOCATE, Class.REQUEST, ID, {})
        unknown = bytes.fromhex("001a0000 80010000".replace(" ", ""))
        message = codec.parse(plain[:2] + len(unknown).to_bytes(2) + plain[4:] + unknown)
        assert message is not None
        assert message.unknown == (0x001A,)

    def test_a_signature_holds_for_its_key_only(self) -> None:
        signed = codec.encode(Method.REFRESH, Class.REQUEST, ID, {"LIFETIME": 0}, b"key")
        message = codec.parse(signed)
        assert message is not None
        assert message.is_signed
        assert message.is_authentic(b"key")
        assert not message.is_authentic(b"another")

    def test_a_remote_reason_is_bounded_and_printable(self) -> None:
        attributes = {"ERROR-CODE": (403, "\x1b[31m" + "x" * 700)}
        message = codec.parse(codec.encode(Method.REFRESH, Class.ERROR, ID, attributes))
        assert message is not None
        code, reason = message.error
        assert code == 403
        assert reason == "?[31m" + "x" * (codec.MAX_REASON - 5)

    def test_indications_of_a_batch_are_a_batch(self) -> None:
        peer = SocketAddress("2001:db8::1", 9)
        made = codec.indications(Method.SEND, peer, batch(b"abcdef", b"ghijkl", b"m"), numbered())
        assert [len(one) for one in made] == [48 + 8, 48 + 8, 48 + 4]
        read = [codec.parse(one) for one in made]
        assert [one.attributes["DATA"] for one in read if one] == [b"abcdef", b"ghijkl", b"m"]
        assert all(one is not None and one.peers == (peer,) for one in read)

    def test_reasons_are_short_enough(self) -> None:
        assert ErrorCode.UNAUTHORIZED.reason == "Unauthorized"


class TestChannelData:
    def test_headers_stand_between_the_datagrams(self) -> None:
        wrapped = channel_data.wrap(0x4001, batch(b"abc", b"def", b"g"))
        assert wrapped.data == b"\x40\x01\x00\x03abc\x40\x01\x00\x03def\x40\x01\x00\x01g"
        assert wrapped.stride == 7

    def test_whether_it_may_be_fragmented_is_kept(self) -> None:
        assert channel_data.wrap(0x4000, Datagrams(b"x", may_fragment=True)).may_fragment

    def test_runs_of_several_channels_are_told_apart(self) -> None:
        mixed = b"".join(bytes(channel_data.wrap(c, Datagrams(b"xyz")).data) for c in
                         (0x4001, 0x4001, 0x4002, 0x4001))  # fmt: skip
        runs = [(c, len(d)) for c, d in channel_data.unwrap(Datagrams(mixed, 7))]
        assert runs == [(0x4001, 2), (0x4002, 1), (0x4001, 1)]

    @pytest.mark.parametrize(
        "data", ["", "40", "400100", "40010000", "40010002ff", "3fff0001ff", "80000001ff"]
    )
    def test_what_is_none_is_left_out(self, data: str) -> None:
        assert list(channel_data.unwrap(Datagrams(bytes.fromhex(data)))) == []

    def test_padding_is_taken_off(self) -> None:
        ((channel, datagrams),) = channel_data.unwrap(Datagrams(b"\x40\x01\0\x01x\0\0\0"))
        assert (channel, bytes(datagrams.data)) == (0x4001, b"x")


class TestCredentials:
    def test_the_key_is_the_one_of_rfc_5769(self) -> None:
        # its test vector of long-term credentials (section 2.4), already prepared
        given = Credentials("マトリックス", "TheMatrIX")
        text = "マトリックス:example.org:TheMatrIX".encode()
        assert integrity_key(given, "example.org") == hashlib.md5(text).digest()

    def test_ephemeral_ones_follow_the_convention(self) -> None:
        made = ephemeral(b"secret", "node", 2_000_000_000)
        assert made.username == "2000000000:node"
        mac = hmac.new(b"secret", b"2000000000:node", "sha1").digest()
        assert made.password == base64.b64encode(mac).decode()
        assert made.password not in repr(made)

    def test_they_expire(self) -> None:
        made = ephemeral(b"secret", "node", 1000)
        assert SharedSecret(b"secret", lambda: 999.0).password(made.username) == made.password
        assert SharedSecret(b"secret", lambda: 1000.0).password(made.username) is None

    @pytest.mark.parametrize("name", ["", "node", ":node", "-1:node", "1e9:n", "9" * 5000])
    def test_other_usernames_have_no_password(self, name: str) -> None:
        assert SharedSecret(b"secret", lambda: 0.0).password(name) is None

    def test_whose_they_are(self) -> None:
        assert owner_of("2000000000:node") == "node"
        assert owner_of("alice") == "alice"
        assert owner_of("alice:bob") == "alice:bob"


class TestNonces:
    NONCES = Nonces(b"secret", 600.0)

    def test_are_short_text(self) -> None:
        assert len(self.NONCES.make("1.2.3.4:5", 1000.0)) == 24

    def test_are_the_client_s_own_and_grow_old(self) -> None:
        nonce = self.NONCES.make("1.2.3.4:5", 1000.0)
        assert self.NONCES.is_fresh(nonce, "1.2.3.4:5", 1600.0)
        assert not self.NONCES.is_fresh(nonce, "1.2.3.4:5", 1601.0)
        assert not self.NONCES.is_fresh(nonce, "1.2.3.4:6", 1000.0)
        assert not Nonces(b"another", 600.0).is_fresh(nonce, "1.2.3.4:5", 1000.0)

    @pytest.mark.parametrize("nonce", [b"", b"AA==", b"\xff" * 24, b"A" * 24, b"A" * 700])
    def test_forged_ones_are_refused(self, nonce: bytes) -> None:
        assert not self.NONCES.is_fresh(nonce, "1.2.3.4:5", 0.0)


class TestStreams:
    MESSAGE = codec.encode(Method.REFRESH, Class.REQUEST, ID, {"LIFETIME": 600}, b"key")

    def test_messages_come_out_whole_byte_by_byte(self) -> None:
        channels = channel_data.wrap(0x4000, batch(b"abcde", b"fghij"))
        stream = tcp.frame(channels) + tcp.frame(Datagrams(self.MESSAGE))
        deframer = tcp.Deframer()
        found = [one for byte in stream for one in deframer.feed(bytes([byte]))]
        assert found == [*(bytes(one) for one in channels), self.MESSAGE]
        assert deframer.error is None

    @pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00", b"\x00\x01\x00\x03"])
    def test_something_else_is_an_error_and_final(self, data: bytes) -> None:
        deframer = tcp.Deframer()
        assert deframer.feed(data) == []
        assert deframer.error is not None
        assert deframer.feed(self.MESSAGE) == []
