"""The sending half by itself: windows, loss, probes of the tail, time-outs, silence."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import pytest

from keynet.engine import Datagrams
from keynet.transport.utp.congestion import Acked, Lost
from keynet.transport.utp.mtu import BASE_SIZE, PathMtu
from keynet.transport.utp.packet import SACK_REACH, Packet, PacketType, decode, encode
from keynet.transport.utp.rtt import MAX_BACKOFF
from keynet.transport.utp.sender import MAX_BATCH_BYTES, MAX_BYTES_PER_CALL, Sender
from keynet.transport.utp.silence import LOST_AFTER

START = 1000.0
RTT = 0.1
SIZE = BASE_SIZE
PAYLOAD = SIZE - 20


class Bytes:
    """A source with a counter for content, so that order shows."""

    def __init__(self, size: int) -> None:
        self.data = b"".join(n.to_bytes(4, "big") for n in range(-(-size // 4)))[:size]

    @property
    def pending(self) -> int:
        return len(self.data)

    def pull(self, max_bytes: int) -> bytes:
        data, self.data = self.data[:max_bytes], self.data[max_bytes:]
        return data


@dataclass
class Fixed:
    """A controller that holds to one window and writes down what it is told."""

    window: int = 1 << 30
    pacing_rate: float = math.inf
    name: str = "fixed"
    mss: int = SIZE
    acked: list[Acked] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    timeouts: int = 0
    spurious: int = 0
    sent: int = 0

    def on_send(self, now: float, size: int, in_flight: int, app_limited: bool) -> None:
        self.sent += size

    def on_ack(self, acked: Acked) -> None:
        self.acked.append(acked)

    def on_loss(self, lost: Lost) -> None:
        self.lost.append(lost)

    def on_timeout(self, now: float) -> None:
        self.timeouts += 1

    def on_spurious_loss(self, now: float) -> None:
        self.spurious += 1

    def on_path_changed(self, now: float, mss: int) -> None:
        self.mss = mss


class Rig:
    """A sender, a clock, and a receiver that keeps what it is given."""

    def __init__(
        self, size: int = 100_000, *, window: int = 1 << 20, ceiling: int = SIZE, seq: int = 1
    ) -> None:
        self.source = Bytes(size)
        self.whole = self.source.data
        self.control = Fixed()
        self.mtu = PathMtu(SIZE, ceiling)
        self.now = START
        self.sender = Sender(seq, self.source, self.mtu, self.control, START)
        self.sender.peer_window = window
        self.arrived: dict[int, Packet] = {}
        self.batches: list[Datagrams] = []
        self.next_seq = seq

    def stamp(self, kind: PacketType, seq: int) -> bytes:
        return encode(kind, 7, 0, 0, 0, seq, 0)

    def send(self) -> list[Packet]:
        """What goes out now, all of it."""
        packets: list[Packet] = []
        while True:
            out: list[Datagrams] = []
            self.sender.send(self.stamp, self.now, out)
            self.batches += out
            packets += [p for batch in out for d in batch if (p := decode(bytes(d)))]
            if not self.sender.cut_short:
                return packets

    def due(self) -> list[Packet]:
        """Go to the next deadline, do what is due, and return what went out."""
        at = self.sender.next_deadline()
        assert at < math.inf
        assert at >= self.now
        self.now = at
        out: list[Datagrams] = []
        self.alive = self.sender.handle_deadline(self.stamp, self.now, out)
        self.batches += out
        return [p for batch in out for d in batch if (p := decode(bytes(d)))] + self.send()

    def receive(self, packets: list[Packet]) -> None:
        for packet in packets:
            seq = self.next_seq + ((packet.seq_nr - self.next_seq + 0x8000) & 0xFFFF) - 0x8000
            self.arrived[seq] = packet
        while self.next_seq in self.arrived:
            self.next_seq += 1

    def ack(self, packets: list[Packet] | None = None, *, after: float = RTT) -> None:
        """Let packets arrive, time pass, and one honest acknowledgement come back."""
        self.receive(packets or [])
        self.now += after
        sack = sum(1 << (s - self.next_seq - 1) for s in self.arrived if s > self.next_seq)
        self.sender.acknowledge(self.next_seq - 1, sack, None, self.now)

    def received(self) -> bytes:
        return b"".join(bytes(self.arrived[seq].payload) for seq in sorted(self.arrived))


class TestWindows:
    @pytest.mark.parametrize("window", [1, 2, 100, PAYLOAD, PAYLOAD + 1, 50_000])
    def test_never_a_byte_beyond_the_peers_window(self, window: int) -> None:
        rig = Rig(window=window)
        for _ in range(50):
            out = rig.send()
            assert sum(len(packet.payload) for packet in out) <= window
            rig.ack(out)
        assert rig.whole.startswith(rig.received())
        assert len(rig.arrived) >= 25 or window == 1

    def test_a_window_that_shrinks_stops_new_bytes_not_old_ones(self) -> None:
        rig = Rig()
        first, *rest = rig.send()[:10]
        assert rig.sender.board.in_flight > 0
        rig.sender.peer_window = 0
        rig.ack(rest)
        again = rig.due()
        assert first.seq_nr in [packet.seq_nr for packet in again]

    def test_a_closed_window_is_probed_by_single_bytes(self) -> None:
        rig = Rig(window=0)
        for _ in range(10):
            assert rig.send() == []
            [probe] = rig.due()
            assert len(probe.payload) == 1
            rig.ack([probe])
        assert rig.now - START > 3

    def test_the_window_is_found_open_though_the_update_was_lost(self) -> None:
        rig = Rig(window=0)
        rig.send()
        probe = rig.due()
        rig.sender.peer_window = 1 << 20
        rig.ack(probe)
        rest = rig.send()
        rig.ack(rest)
        assert rig.received() == rig.whole

    def test_unanswered_window_probes_back_off(self) -> None:
        rig = Rig(window=0)
        rig.send()
        times = []
        for _ in range(5):
            times.append(rig.now)
            rig.due()
        pauses = [b - a for a, b in itertools.pairwise(times)]
        assert pauses == sorted(pauses)
        assert pauses[-1] == MAX_BACKOFF >= 2 * pauses[0]

    def test_a_window_that_stays_closed_is_probed_ever_less(self) -> None:
        rig = Rig(window=0)
        for _ in range(100):
            rig.ack(rig.due(), after=0.01)
        assert rig.now - START > 150
        rig.sender.peer_window = 50_000
        rig.send()

    def test_the_congestion_window_holds_but_never_to_nothing(self) -> None:
        rig = Rig()
        rig.control.window = 3 * SIZE
        out = rig.send()
        assert len(out) == 3
        rig.ack(out)
        rig.control.window = 10
        assert len(rig.send()) == 1, "with nothing in flight one packet goes whatever the window"

    def test_no_more_than_a_selective_ack_can_reach(self) -> None:
        rig = Rig(size=10 << 20, window=1 << 30)
        first, *rest = rig.send()
        assert len(rest) + 1 == SACK_REACH
        rig.ack(rest)
        assert rig.send() == []
        rig.ack([first])
        assert len(rig.send()) == SACK_REACH

    @pytest.mark.parametrize("size", [1232, 1472, 8952, 65_000, 65_507])
    @pytest.mark.parametrize("hold_tail", [False, True])
    def test_packets_of_any_size_go_out(self, size: int, hold_tail: bool) -> None:
        rig = Rig(size=1 << 20, window=1 << 30)
        rig.mtu.size = rig.mtu.ceiling = size
        rig.sender.hold_tail = hold_tail
        for _ in range(2000):
            rig.ack(rig.send(), after=0.001)
        assert rig.received() == rig.whole

    def test_one_call_gives_a_bounded_amount(self) -> None:
        rig = Rig(size=10 << 20, window=1 << 30)
        out: list[Datagrams] = []
        rig.sender.send(rig.stamp, rig.now, out)
        assert sum(len(batch.data) for batch in out) <= MAX_BYTES_PER_CALL + MAX_BATCH_BYTES
        assert rig.sender.cut_short


class TestLoss:
    @pytest.mark.parametrize(("later", "waited"), [(2, RTT / 4), (3, 0.001), (9, 0.001)])
    def test_a_hole_is_filled_soon_once_three_came_after_it(
        self, later: int, waited: float
    ) -> None:
        rig = Rig(size=(1 + later) * PAYLOAD)
        lost, *rest = rig.send()
        assert len(rest) == later
        rig.ack(rest)
        assert rig.send() == []
        again = rig.due()
        assert [p.seq_nr for p in again] == [lost.seq_nr]
        assert rig.now - START == pytest.approx(RTT + waited)
        assert bytes(again[0].payload) == bytes(lost.payload)
        rig.ack(again)
        assert rig.received() == rig.whole
        assert [report.bytes for report in rig.control.lost] == [SIZE]

    @pytest.mark.parametrize("later", [1, 2])
    def test_reordering_within_the_window_is_no_loss(self, later: int) -> None:
        rig = Rig(size=(1 + later) * PAYLOAD)
        late, *rest = rig.send()
        rig.ack(rest)
        assert rig.sender.next_deadline() - rig.now > 0.02
        rig.ack([late], after=0.02)
        assert rig.sender.next_deadline() == math.inf
        assert rig.control.lost == []

    def test_a_late_arrival_widens_the_window(self) -> None:
        rig = Rig(size=20 * PAYLOAD)
        late, *rest = rig.send()
        rig.ack(rest)
        assert rig.due()[0].seq_nr == late.seq_nr
        rig.ack([late], after=0.01)
        assert rig.control.spurious == 1
        rig.source.data = bytes(20 * PAYLOAD)
        late, *rest = rig.send()
        rig.ack(rest)
        assert rig.sender.next_deadline() - rig.now == pytest.approx(0.5 * RTT)

    def test_an_answer_that_comes_too_soon_is_not_to_the_retransmission(self) -> None:
        """RFC 8985 section 6.2: taken for its round trip, it would make losses of all in flight."""
        rig = Rig(size=200 * PAYLOAD)
        rig.control.window = 40 * SIZE
        late, *rest = rig.send()
        rig.ack(rest)
        fresh = rig.send()
        assert rig.due()[0].seq_nr == late.seq_nr
        rig.ack([late], after=0.01)
        fresh += rig.send()
        assert rig.sender.next_deadline() - rig.now > RTT
        rig.ack(fresh)
        assert len(rig.control.lost) == 1

    def test_a_lost_tail_is_probed_long_before_the_time_out(self) -> None:
        rig = Rig(size=5 * PAYLOAD)
        out = rig.send()
        rig.ack(out[:3])
        probe = rig.due()
        assert [packet.seq_nr for packet in probe] == [out[4].seq_nr]
        assert rig.now - START < RTT + 2 * RTT + 0.05
        rig.ack(probe)
        rig.ack(rig.send(), after=0.01)
        assert rig.received() == rig.whole
        assert rig.control.timeouts == 0

    def test_a_tail_probe_prefers_new_data(self) -> None:
        rig = Rig(size=8 * PAYLOAD)
        rig.control.window = 4 * SIZE
        out = rig.send()
        rig.ack(out[:1], after=RTT)
        rig.control.window = 3 * SIZE
        probe = rig.due()
        assert [p.seq_nr for p in probe] == [5]

    def test_a_lost_retransmission_is_sent_again(self) -> None:
        rig = Rig(size=20 * PAYLOAD)
        out = rig.send()
        rig.ack(out[1:])
        for _ in range(3):
            again = []
            while not again:
                again = rig.due()
        rig.ack(again)
        assert rig.received() == rig.whole

    def test_the_time_out_resends_everything_and_backs_off(self) -> None:
        rig = Rig(size=5 * PAYLOAD)
        rig.ack(rig.send()[:1])
        seen: list[float] = []
        while len(seen) < 4:
            before = rig.control.timeouts
            out = rig.due()
            if rig.control.timeouts > before:
                seen.append(rig.now)
                assert [p.seq_nr for p in out] == [2, 3, 4, 5]
        pauses = [b - a for a, b in itertools.pairwise(seen)]
        assert pauses == pytest.approx([pauses[0], 2 * pauses[0], MAX_BACKOFF])
        rig.ack(out)
        assert rig.received() == rig.whole
        assert rig.sender.rtt.backoff == 0
        assert rig.sender.next_deadline() == math.inf

    @pytest.mark.parametrize("rtt", [0.001, 0.05, 0.12, 0.2, 0.35, 0.5, 1.0])
    def test_silence_ends_it_after_fifteen_seconds(self, rtt: float) -> None:
        rig = Rig()
        for _ in range(10):
            rig.control.window = 2 * SIZE
            rig.ack(rig.send(), after=rtt)
        rig.send()
        began = rig.now
        rig.alive = True
        while rig.alive:
            rig.due()
        assert LOST_AFTER <= rig.now - began <= LOST_AFTER + 1.0

    @pytest.mark.parametrize("pause", [0.01, 0.05, 0.15])
    def test_who_keeps_talking_notices_the_silence_too(self, pause: float) -> None:
        """Sending puts off the probe of the tail, and not the time-out."""
        rig = Rig(size=0)
        rig.alive, began = True, START
        for n in range(10_000):
            rig.source.data = bytes(20)
            said = rig.send()
            if n < 20:
                rig.ack(said, after=0.0)
                rig.now += pause
                began = rig.now
                continue
            until = rig.now + pause
            while rig.alive and rig.sender.next_deadline() <= until:
                rig.due()
            if not rig.alive:
                break
            rig.now = until
        assert LOST_AFTER <= rig.now - began <= LOST_AFTER + 1.0

    def test_an_answer_of_any_kind_keeps_it(self) -> None:
        rig = Rig(window=2 * PAYLOAD)
        rig.ack(rig.send())
        rig.send()
        for _ in range(100):
            rig.due()
            assert rig.alive
            rig.ack([], after=0.0)
        assert rig.now - START > 60


class TestEnd:
    def test_the_fin_follows_the_last_byte_whatever_the_window(self) -> None:
        rig = Rig(size=100, window=100)
        rig.sender.finish()
        out = rig.send()
        assert [p.type for p in out] == [PacketType.DATA, PacketType.FIN]
        rig.ack(out)
        assert rig.sender.fin_acked
        rig.sender.finish()
        assert rig.send() == []

    def test_a_lost_fin_comes_again_as_a_fin(self) -> None:
        rig = Rig(size=100)
        rig.sender.finish()
        data, _ = rig.send()
        rig.ack([data])
        again = rig.due()
        assert [p.type for p in again] == [PacketType.FIN]
        rig.ack(again)
        assert rig.sender.fin_acked


class TestPacketSize:
    def rig(self, size: int = 200_000) -> Rig:
        rig = Rig(size=size, ceiling=1472)
        rig.sender.probing_allowed = True
        rig.control.window = 20 * SIZE
        return rig

    def test_a_stream_that_sends_much_probes_and_uses_what_it_finds(self) -> None:
        rig = self.rig()
        assert rig.sender.due_probe(rig.now) == 0
        out = rig.send()
        assert {len(p.payload) + 20 for p in out} == {SIZE}
        assert rig.sender.due_probe(rig.now) == 1472
        assert rig.sender.due_probe(rig.now) == 0
        rig.ack(out)
        rig.sender.probe_arrived(1472, rig.now)
        assert {len(p.payload) + 20 for p in rig.send()} == {1472}
        assert not any(batch.may_fragment for batch in rig.batches)

    def test_nobody_is_probed_before_it_is_allowed(self) -> None:
        rig = self.rig()
        rig.sender.probing_allowed = False
        rig.send()
        assert rig.sender.due_probe(rig.now) == 0

    def test_large_packets_that_vanish_while_small_ones_pass_are_noticed(self) -> None:
        """A path that shrank under an application that keeps saying short things."""
        rig = self.rig()
        out = rig.send()
        rig.sender.probe_arrived(rig.sender.due_probe(rig.now), rig.now)
        rig.ack(out)
        rig.source.data = b""
        rig.ack(rig.send())
        rig.source.data = bytes(1400)
        stuck = rig.send()
        assert len(stuck) == 1
        began = rig.now
        while rig.next_seq <= stuck[0].seq_nr and rig.now - began < 10:
            rig.source.data += b"ping"
            passing = [p for p in rig.send() if len(p.payload) + 20 <= BASE_SIZE]
            passing += self.fragmented(rig)
            rig.ack(passing)
            if rig.sender.next_deadline() <= rig.now + RTT:
                rig.due()
                rig.receive(self.fragmented(rig))
        assert rig.now - began < 3

    def fragmented(self, rig: Rig) -> list[Packet]:
        """What went out large, but may be fragmented: it passes."""
        passing = [p for b in rig.batches if b.may_fragment for d in b if (p := decode(bytes(d)))]
        rig.batches.clear()
        return passing
