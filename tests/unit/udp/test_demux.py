"""The demultiplexer's tables are bounded, its drops counted, and its runs joined again."""

from __future__ import annotations

from keynet.address import SocketAddress
from keynet.engine import Datagrams
from keynet.udp.demux import Demultiplexer, Drop, Kind, Routed, is_channel_data
from keynet.udp.split import split

PEER = SocketAddress("203.0.113.5", 4000)
SERVER = SocketAddress("198.51.100.1", 3478)
PING = b"\x00\x01\x00\x50\x21\x12\xa4\x42" + bytes(12 + 80)
DATA = b"\x01\x00\x12\x34" + bytes(96)
SYN = b"\x41\x00" + bytes(18)


class Utp:
    name = "utp"

    def claims(self, datagram: object) -> bool:
        return len(datagram) == 20 and datagram[0] == 0x41  # type: ignore[arg-type, index]


def demultiplexer(**options: int) -> Demultiplexer[str]:
    return Demultiplexer([Utp()], **options)


def batch(*datagrams: bytes) -> Datagrams:
    return Datagrams(memoryview(b"".join(datagrams)), len(datagrams[0]))


def summary(routed: Routed[str]) -> tuple[Kind, list[bytes], str | None]:
    return routed.kind, [bytes(one) for one in routed.datagrams], routed.owner


def test_a_run_of_a_bound_source_passes_as_it_is():
    demux = demultiplexer()
    demux.bind_source(PEER, "link", "utp")
    whole = batch(DATA, DATA, DATA[:30])
    (routed,) = demux.route(whole, PEER)
    assert routed.datagrams is whole
    assert (routed.kind, routed.owner) == (Kind.KNOWN, "link")


def test_pings_inside_and_after_a_run_are_taken_out():
    demux = demultiplexer()
    demux.bind_source(PEER, "link", "utp")
    last = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)
    assert list(map(summary, demux.route(batch(DATA, PING, PING, DATA, DATA, last), PEER))) == [
        (Kind.KNOWN, [DATA], "link"),
        (Kind.STUN, [PING], None),
        (Kind.STUN, [PING], None),
        (Kind.KNOWN, [DATA, DATA], "link"),
        (Kind.STUN, [last], None),
    ]


def test_splitting_keeps_order_and_content():
    runs, messages = split(batch(PING, DATA, DATA, PING, DATA[:50]))
    assert [[bytes(one) for one in run] for run in runs] == [[DATA, DATA], [DATA[:50]]]
    assert [bytes(one) for one in messages] == [PING, PING]
    only = batch(DATA, DATA)
    assert split(only) == ((only,), ())
    assert split(Datagrams(b""))[1] == ()
    assert [bytes(one) for one in split(batch(PING))[1]] == [PING]


def test_a_byte_of_the_cookie_alone_splits_nothing():
    lookalike = DATA[:4] + b"\x21" + DATA[5:]
    whole = batch(lookalike, DATA)
    assert split(whole)[0][0] is whole


def test_an_unknown_source_gets_in_by_a_first_datagram_only():
    demux = demultiplexer()
    (routed,) = demux.route(batch(SYN, SYN), PEER)
    assert routed.kind is Kind.FIRST
    assert routed.transport is not None
    assert routed.transport.name == "utp"
    assert len(routed.datagrams) == 2
    assert demux.route(batch(DATA, DATA), PEER) == []
    assert demux.drops == {Drop.UNCLAIMED: 2}


def test_a_turn_servers_bytes_are_the_relays_and_its_garbage_is_judged_like_any():
    demux = demultiplexer()
    demux.bind_relay(SERVER, "relay")
    framed = b"\x40\x01\x00\x60" + bytes(96)
    assert [summary(one)[::2] for one in demux.route(batch(framed, framed, framed), SERVER)] == [
        (Kind.RELAYED, "relay")
    ]
    routed = demux.route(batch(framed, PING, b"\x40\x02\x00\x60" + bytes(96), DATA), SERVER)
    assert [(one.kind, len(one.datagrams)) for one in routed] == [(Kind.RELAYED, 3)]
    assert demux.drops == {Drop.UNCLAIMED: 1}
    assert demux.route(batch(framed), PEER) == []
    (syn,) = demux.route(batch(SYN), SERVER)
    assert syn.kind is Kind.FIRST


def test_a_channel_run_with_a_lying_segment_is_judged_one_by_one():
    demux = demultiplexer()
    demux.bind_relay(SERVER, "relay")
    framed = b"\x40\x01\x00\x60" + bytes(96)
    lying = b"\x40\x01\x00\x10" + bytes(96)
    routed = demux.route(batch(framed, lying, framed), SERVER)
    assert [len(one.datagrams) for one in routed] == [1, 1]
    short = framed[:50]
    (routed_short,) = demux.route(batch(framed, framed, short), SERVER)
    assert len(routed_short.datagrams) == 2


def test_channel_data_may_be_padded_to_four():
    assert is_channel_data(b"\x4f\xff\x00\x05hello\x00\x00\x00")
    assert is_channel_data(b"\x40\x00\x00\x05hello")
    assert not is_channel_data(b"\x40\x00\x00\x05hello\x00\x00\x00\x00")
    assert not is_channel_data(b"\x40\x00\x00\x06hello")
    assert not is_channel_data(b"\x50\x00\x00\x05hello")
    assert not is_channel_data(b"\x40\x00\x00")


def test_full_tables_refuse_and_count():
    demux = demultiplexer(limit=2)
    for table, bind in enumerate(
        (
            lambda n: demux.bind_source(SocketAddress("10.0.0.1", n), "link", "utp"),
            lambda n: demux.bind_relay(SocketAddress("10.0.0.1", n), "relay"),
            lambda n: demux.bind_id("quic", n, "connection"),
        )
    ):
        assert [bind(n) for n in (1, 2, 3, 2)] == [True, True, False, True]
        assert demux.drops[Drop.TABLE_FULL] == table + 1
    demux.unbind_source(SocketAddress("10.0.0.1", 1))
    demux.unbind_source(SocketAddress("10.0.0.1", 1))
    assert demux.source_owner(SocketAddress("10.0.0.1", 1)) is None
    assert demux.source_owner(SocketAddress("10.0.0.1", 2)) == "link"
    assert demux.bind_source(SocketAddress("10.0.0.1", 3), "link", "utp")


class Curious(Utp):
    name = "curious"

    def claims(self, datagram: object) -> bool:
        return False


def test_a_second_first_datagram_of_a_bound_source_is_its_owners():
    for transports in ([Utp()], [Utp(), Curious()], [Curious(), Utp()]):
        demux: Demultiplexer[str] = Demultiplexer(transports)
        demux.bind_source(PEER, "link", "utp")
        assert [one.owner for one in demux.route(batch(SYN, SYN), PEER)] == ["link"]


def test_emptiness_is_counted():
    demux = demultiplexer()
    demux.bind_source(PEER, "link", "utp")
    assert demux.route(Datagrams(b""), PEER) == []
    assert demux.drops == {Drop.EMPTY: 1}


class Quic:
    """Short headers hold an id that the receiver chose; long ones begin connections."""

    name = "quic"
    first_bytes = bytes([*range(0x40, 0x80), *range(0xC0, 0x100)])

    def claims(self, datagram: object) -> bool:
        return datagram[0] >= 0xC0  # type: ignore[index, no-any-return]

    def connection_id(self, datagram: object) -> bytes:
        return bytes(datagram[1:9])  # type: ignore[index]


SHORT = b"\x40" + b"our-id-1" + bytes(91)
INITIAL = b"\xc0" + b"their-id" + bytes(91)


def test_an_id_that_this_node_chose_is_known_from_anywhere():
    demux: Demultiplexer[str] = Demultiplexer([Utp(), Quic()])
    demux.bind_id("quic", b"our-id-1", "connection")
    (routed,) = demux.route(batch(SHORT, SHORT), SERVER)
    assert summary(routed) == (Kind.KNOWN, [SHORT, SHORT], "connection")
    demux.unbind_id("quic", b"our-id-1")
    assert demux.route(batch(SHORT), SERVER) == []


def test_a_restarted_peer_begins_anew_from_the_source_of_its_old_connection():
    demux: Demultiplexer[str] = Demultiplexer([Utp(), Quic()])
    demux.bind_source(PEER, "old", "quic")
    demux.bind_id("quic", b"our-id-1", "old")
    assert [summary(one)[::2] for one in demux.route(batch(SHORT, INITIAL, SHORT), PEER)] == [
        (Kind.KNOWN, "old"),
        (Kind.FIRST, None),
        (Kind.KNOWN, "old"),
    ]
    demux.bind_id("quic", b"their-id", "new")  # the dialer repeats its first datagram
    (again,) = demux.route(batch(INITIAL), PEER)
    assert (again.kind, again.owner) == (Kind.KNOWN, "new")
