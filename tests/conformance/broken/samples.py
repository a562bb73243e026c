"""Transports broken on purpose: the loopback sample with one fault each."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
from typing import ClassVar

from keynet_loopback import channel as channels
from keynet_loopback import engine as engines
from keynet_loopback.engine import LoopbackEngine
from keynet_loopback.hello import HELLO, Hello, is_first

from keynet.address import NodeId
from keynet.engine import Buffer, Datagrams
from keynet.identity import Identity
from keynet.transport.api import (
    Capability,
    ConnectionTerminated,
    HandshakeCompleted,
    LinkInfo,
    StreamEnded,
    StreamId,
    StreamOpened,
    StreamReadable,
    TransportEvent,
)


class Sample(LoopbackEngine):
    """Says what is to find it. Without a change of its own it is a sound engine."""

    rejected_by: str
    """The check that must find the fault."""
    rule: str | None = None
    """The rule that is named, when it is not that check's own: order is watched in every check."""
    name = "broken"
    claims = staticmethod(is_first)

    @classmethod
    def transport(cls) -> _Transport:
        return _Transport(cls)

    @classmethod
    def make(
        cls, link: LinkInfo, local: Identity, expected: NodeId | None, dialing: bool, now: float
    ) -> Sample:
        return cls(link, Hello(local, expected, dialing=dialing), now)


@dataclasses.dataclass
class _Transport:
    sample: type[Sample]
    capabilities: Capability = Capability.STREAMS

    @property
    def name(self) -> str:
        return self.sample.name

    def claims(self, datagram: Buffer) -> bool:
        return self.sample.claims(datagram)

    def connect(self, link: LinkInfo, local: Identity, expected: NodeId, now: float) -> Sample:
        return self.sample.make(link, local, expected, True, now)

    def accept(self, link: LinkInfo, first: Datagrams, local: Identity, now: float) -> Sample:
        engine = self.sample.make(link, local, None, False, now)
        engine.receive(first, now)
        return engine


class HasAnUntypableName(Sample):
    rejected_by = "check_is_a_transport"
    name = "Broken Transport!"


class ClaimsEverything(Sample):
    rejected_by = "check_claims_by_structure"

    @staticmethod
    def claims(datagram: Buffer) -> bool:
        return True


class RaisesOnShortClaims(Sample):
    rejected_by = "check_claims_by_structure"

    @staticmethod
    def claims(datagram: Buffer) -> bool:
        return datagram[0] == HELLO[0] and is_first(datagram)


class NamesItselfAsThePeer(Sample):
    rejected_by = "check_proves_both_identities"

    def next_event(self) -> TransportEvent | None:
        event = super().next_event()
        if isinstance(event, HandshakeCompleted):
            local = self._hello._local
            return HandshakeCompleted(
                dataclasses.replace(event.peer, node_id=local.node_id, chain=local.chain)
            )
        return event


class BelievesAnybody(Sample):
    rejected_by = "check_refuses_another_node"

    @classmethod
    def make(
        cls, link: LinkInfo, local: Identity, expected: NodeId | None, dialing: bool, now: float
    ) -> Sample:
        return super().make(link, local, None, dialing, now)


class ForgetsOldIds(Sample):
    rejected_by = "check_reaches_a_rotated_node"

    def next_event(self) -> TransportEvent | None:
        event = super().next_event()
        if isinstance(event, HandshakeCompleted):
            peer = dataclasses.replace(event.peer, lineage=(event.peer.node_id,))
            return HandshakeCompleted(peer)
        return event


class KeepsItsOldIdentity(Sample):
    rejected_by = "check_proves_a_newer_identity"

    def identity_changed(self, local: Identity, now: float) -> None:
        """Nothing."""


class StartsAnewWithANewIdentity(Sample):
    rejected_by = "check_proves_a_newer_identity"

    def identity_changed(self, local: Identity, now: float) -> None:
        for stream_id in list(self._streams):
            self.reset(stream_id, now)
        super().identity_changed(local, now)


class AnnouncesStreamsBeforeThePeer(Sample):
    rejected_by = "check_proves_both_identities"
    rule = "T-06"

    def next_event(self) -> TransportEvent | None:
        if self._events and isinstance(self._events[0], HandshakeCompleted):
            self._events.appendleft(StreamOpened(77))
        return super().next_event()


class EndsAStreamTwice(Sample):
    rejected_by = "check_carries_bytes"
    rule = "T-06"

    def next_event(self) -> TransportEvent | None:
        event = super().next_event()
        if isinstance(event, StreamEnded) and event not in self._events:
            self._events.append(event)
        return event


class NeverGivesUp(Sample):
    rejected_by = "check_gives_up_on_silence"

    def handle_deadline(self, now: float) -> None:
        self._heard_at = now
        super().handle_deadline(now)


class KeepsHalfOpenConnections(NeverGivesUp):
    rejected_by = "check_forgets_half_open_connections"


class TrustsDeadPaths(NeverGivesUp):
    rejected_by = "check_notices_a_dead_path"


class KeepsTheReceiveBuffer(Sample):
    """Takes views of what it is given, and looks at them at the next call."""

    rejected_by = "check_carries_bytes"
    kept: Datagrams | None = None

    def receive(self, datagrams: Datagrams, now: float) -> None:
        kept, self.kept = self.kept, datagrams
        if kept is not None:
            super().receive(kept, now)


class GivesOneStreamAnothersBytes(Sample):
    rejected_by = "check_runs_streams_side_by_side"

    def read(self, stream_id: StreamId, max_bytes: int, now: float) -> bytes:
        others = [stream for stream in self._streams.values() if stream.received]
        if len(others) > 1 and self._streams[stream_id].received:
            here = self._streams[stream_id].received
            other = next(s.received for s in others if s.received is not here)
            here[0], other[0] = other[0], here[0]
        return super().read(stream_id, max_bytes, now)


class FinishesBothWaysAtOnce(Sample):
    rejected_by = "check_half_closes_both_ways"

    def next_event(self) -> TransportEvent | None:
        event = super().next_event()
        if isinstance(event, StreamEnded) and event.stream_id in self._streams:
            self.reset(event.stream_id, 0.0)
        return event


class LosesTheTail(Sample):
    """The end overtakes what has not been read yet."""

    rejected_by = "check_keeps_the_tail"

    def _settle(self, stream_id: StreamId, stream: engines._Stream) -> None:
        if stream.peer_eof:
            stream.received.clear()
        super()._settle(stream_id, stream)


class ResetsInSilence(Sample):
    rejected_by = "check_resets_one_stream"

    def reset(self, stream_id: StreamId, now: float) -> None:
        self._close_stream(stream_id, None)


class GrowsWithoutBound(Sample):
    """Takes whatever is written."""

    rejected_by = "check_holds_the_writer"
    hoard = b""

    def write(self, stream_id: StreamId, data: Buffer, now: float) -> int:
        self.hoard += bytes(data)
        taken = super().write(stream_id, self.hoard, now)
        self.hoard = self.hoard[taken:]
        return len(data)


class HoldsEverybody(Sample):
    """A reader that stops keeps the others' bytes from being acknowledged."""

    rejected_by = "check_holds_the_writer"

    def receive(self, datagrams: Datagrams, now: float) -> None:
        if not any(len(s.received) + s.read >= engines.CREDIT // 2 for s in self._streams.values()):
            super().receive(datagrams, now)


class TakesAnyStream(Sample):
    rejected_by = "check_refuses_unknown_streams"

    def read(self, stream_id: StreamId, max_bytes: int, now: float) -> bytes:
        return super().read(stream_id, max_bytes, now) if stream_id in self._streams else b""


class ForgetsToSayWritable(Sample):
    rejected_by = "check_carries_much"

    def _settle(self, stream_id: StreamId, stream: engines._Stream) -> None:
        stream.blocked = False
        super()._settle(stream_id, stream)


class NeverRepeats(Sample):
    rejected_by = "check_survives_loss"

    def datagrams_to_send(self, now: float) -> list[Datagrams]:
        out = super().datagrams_to_send(now)
        self._channel.resend_at = None
        return out


class ReordersBytes(Sample):
    """Delivers segments as they come, not as they were written."""

    rejected_by = "check_survives_duplication_and_reordering"

    def __init__(self, link: LinkInfo, hello: Hello, now: float) -> None:
        super().__init__(link, hello, now)
        self._channel = _Hasty()


class _Hasty(channels.Channel):
    def receive(self, packet: bytes, now: float) -> list[bytes]:
        number, _ = channels.HEADER.unpack_from(packet)
        early = number in range(self._expected + 1, self._expected + channels.WINDOW)
        before = number in self._held
        ready = super().receive(packet, now)
        segment = packet[channels.HEADER.size :]
        if early and not before and segment and segment[0] == engines.DATA:
            self._held[number] = engines.SEGMENT.pack(engines.DATA, 2**31)
            return [*ready, segment]
        return ready


class BelievesDamagedDatagrams(Sample):
    rejected_by = "check_survives_corruption"

    @classmethod
    def make(
        cls, link: LinkInfo, local: Identity, expected: NodeId | None, dialing: bool, now: float
    ) -> Sample:
        return cls(link, _Credulous(local, expected, dialing=dialing), now)


class _Credulous(Hello):
    def open(self, packet: bytes) -> bytes | None:
        return packet[21:] if self.peer and len(packet) >= 37 else None


class SendsMoreThanThePathTakes(Sample):
    rejected_by = "check_works_on_a_small_mtu"

    def datagrams_to_send(self, now: float) -> list[Datagrams]:
        self._mtu = 1472
        return super().datagrams_to_send(now)


class CannotCountBeyondEthernet(Sample):
    rejected_by = "check_works_on_a_large_mtu"

    def receive(self, datagrams: Datagrams, now: float) -> None:
        if datagrams.stride <= 1500:
            super().receive(datagrams, now)


class DiesWithItsPath(Sample):
    rejected_by = "check_survives_a_path_change"

    def path_changed(self, mtu: int, rtt: float | None, now: float) -> None:
        self.close(now)


class NeverRests(Sample):
    rejected_by = "check_rests_when_idle"

    def datagrams_to_send(self, now: float) -> list[Datagrams]:
        out = super().datagrams_to_send(now)
        self._ping_at = min(self._ping_at, now + 0.1)
        return out


class RaisesOnGarbage(Sample):
    rejected_by = "check_drops_garbage"

    def receive(self, datagrams: Datagrams, now: float) -> None:
        for datagram in datagrams:
            if not bytes(datagram).startswith(b"KLB1"):
                raise ValueError("not one of ours")
        super().receive(datagrams, now)


class RaisesOnForgeries(Sample):
    rejected_by = "check_withstands_forgeries"

    def receive(self, datagrams: Datagrams, now: float) -> None:
        for datagram in datagrams:
            if bytes(datagram[:4]) == b"KLB1":
                assert bytes(datagram[4:5]) in (b"H", b"A", b"P", b"S"), "no such message"
        super().receive(datagrams, now)


class RaisesOnForgedBeginnings(Sample):
    rejected_by = "check_accepts_forged_beginnings"

    def receive(self, datagrams: Datagrams, now: float) -> None:
        for datagram in datagrams:
            if is_first(datagram) and any(datagram[37:]):
                raise ValueError("padding is zero")
        super().receive(datagrams, now)


class RaisesOnSecondClose(Sample):
    rejected_by = "check_closes_twice"

    def close(self, now: float) -> None:
        if self._over:
            raise RuntimeError("closed already")
        super().close(now)


class LeavesWithoutAWord(Sample):
    rejected_by = "check_tells_the_peer"

    def close(self, now: float) -> None:
        super().close(now)
        self._farewell = []


class SpeaksAfterTermination(Sample):
    rejected_by = "check_is_silent_afterwards"

    def datagrams_to_send(self, now: float) -> list[Datagrams]:
        return super().datagrams_to_send(now) or ([Datagrams(b"boo")] if self._over else [])


class TellsAfterTermination(Sample):
    rejected_by = "check_is_silent_afterwards"

    def receive(self, datagrams: Datagrams, now: float) -> None:
        if self._over:
            self._events.append(StreamReadable(0))
        super().receive(datagrams, now)


class CannotCloseBeforeTheHandshake(Sample):
    rejected_by = "check_closes_at_any_moment"

    def close(self, now: float) -> None:
        assert self._hello.peer is not None
        super().close(now)


class LeaksATask(Sample):
    rejected_by = "check_runs_under_the_shells"
    tasks: ClassVar[list[asyncio.Task[None]]] = []

    def __init__(self, link: LinkInfo, hello: Hello, now: float) -> None:
        super().__init__(link, hello, now)
        with contextlib.suppress(RuntimeError):
            loop = asyncio.get_running_loop()
            self.tasks.append(loop.create_task(asyncio.sleep(3600)))


class CannotResetWhatIsOpening(Sample):
    rejected_by = "check_survives_cancellation"

    def reset(self, stream_id: StreamId, now: float) -> None:
        if not self._streams[stream_id].received:
            raise KeyError(stream_id)


class NeverSaysThatItIsOver(Sample):
    rejected_by = "check_closes_under_the_shells"

    def next_event(self) -> TransportEvent | None:
        event = super().next_event()
        return None if isinstance(event, ConnectionTerminated) else event


class TakesAllThatTheShellHas(GrowsWithoutBound):
    rejected_by = "check_pushes_back_under_the_shells"


class LeavesWaitersOnDeadPaths(NeverGivesUp):
    rejected_by = "check_tells_waiters_of_a_dead_path"


def _concrete(base: type[Sample]) -> list[type[Sample]]:
    direct = base.__subclasses__()
    return list(itertools.chain(direct, *(_concrete(sample) for sample in direct)))


SAMPLES = _concrete(Sample)
