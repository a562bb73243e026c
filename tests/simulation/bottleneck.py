"""A bottleneck in virtual time: what congestion controllers are driven by in these tests.

One link (rate, queue, delay, random loss) shared by flows. A flow is a small model sender that
keeps the books of draft-ietf-ccwg-bbr section 4.1 per batch, and a receiver that acknowledges
once per wake-up, as the real one does. There are no bytes, no headers and no retransmissions:
what is lost is made up for by new packets.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count, takewhile
from random import Random

from keynet.transport.utp.congestion import Acked, CongestionControl, Lost
from keynet.transport.utp.pacing import Pacer

MSS = 1472
BATCH = 44 * MSS
MIN_RTO = 0.5


@dataclass
class Link:
    """The shared bottleneck; times in seconds, sizes in bytes, rate in bytes per second."""

    rate: float
    delay: float
    queue: float
    loss: float = 0.0
    seed: int = 1
    busy_until: float = 0.0
    delays: list[float] = field(default_factory=list)
    dropped: int = 0

    def __post_init__(self) -> None:
        self.random = Random(self.seed)

    def carry(self, now: float) -> float | None:
        """When a packet sent now comes out at the far end; None when it does not."""
        waiting = max(self.busy_until - now, 0.0)
        if waiting * self.rate > self.queue:
            self.dropped += 1
            return None
        self.busy_until = now + waiting + MSS / self.rate
        self.delays.append(waiting)
        if self.loss and self.random.random() < self.loss:
            return None
        return self.busy_until + self.delay / 2


@dataclass(slots=True)
class Batch:
    """What was sent in one go, and the delivery state when it was."""

    sent_at: float
    first_sent_at: float
    delivered: int
    delivered_at: float
    tx_in_flight: int
    lost: int
    app_limited: bool


class Flow:
    """One sender and its receiver. `supply(now)` says how many bytes the application has had."""

    def __init__(
        self,
        control: CongestionControl,
        *,
        start: float = 0.0,
        wake_every: float = 0.001,
        supply: Callable[[float], float] | None = None,
        clock_offset: float = -17.0,
    ) -> None:
        self.control = control
        self.start = start
        self.wake_every = wake_every
        self.supply = supply or (lambda _now: math.inf)
        self.clock_offset = clock_offset
        self.pacer = Pacer(MSS, start)
        self.numbers = count()
        self.flight: dict[int, Batch] = {}
        self.arrivals: deque[tuple[float, int]] = deque()
        self.sent = self.delivered = self.lost = 0
        self.delivered_at = self.first_sent_at = self.heard_at = start
        self.min_rtt = math.inf
        self.app_limited_until = 0
        self.window_limited = False
        self.timeouts = 0
        self.wake_at: float | None = None
        self.send_at: float | None = None
        self.log: list[tuple[float, int]] = []

    @property
    def in_flight(self) -> int:
        return len(self.flight) * MSS

    def allowed(self, now: float) -> int:
        """Packets that may go out now; notes what held the sender back."""
        self.window_limited |= self.in_flight + MSS > self.control.window
        room = self.control.window - self.in_flight
        waiting = self.supply(now) - self.sent
        self.pacer.set_rate(self.control.pacing_rate)
        if waiting < MSS and self.in_flight < self.control.window:
            self.app_limited_until = self.delivered + max(self.in_flight, 1)
        return int(max(min(room, waiting, self.pacer.budget(now), BATCH), 0) // MSS)

    def send(self, now: float, packets: int) -> list[int]:
        size = packets * MSS
        limited = self.app_limited_until > 0
        self.control.on_send(now, size, self.in_flight, limited)
        if not self.flight:
            self.first_sent_at = self.delivered_at = self.heard_at = now
        batch = Batch(
            now,
            self.first_sent_at,
            self.delivered,
            self.delivered_at,
            self.in_flight + size,
            self.lost,
            limited,
        )
        numbers = [next(self.numbers) for _ in range(packets)]
        self.flight.update(dict.fromkeys(numbers, batch))
        self.pacer.sent(size, now)
        self.sent += size
        return numbers

    def acknowledge(self, now: float, numbers: list[int], arrived_at: float) -> None:
        batches = [batch for n in numbers if (batch := self.flight.pop(n, None)) is not None]
        if not batches:
            return
        self.heard_at = now
        size = len(batches) * MSS
        newest = batches[-1]
        self.delivered += size
        self.delivered_at = now
        if self.delivered > self.app_limited_until:
            self.app_limited_until = 0
        self.first_sent_at = newest.sent_at
        rtt = now - newest.sent_at
        self.min_rtt = min(self.min_rtt, rtt)
        self.find_losses(now, numbers[-1])
        interval = max(newest.sent_at - newest.first_sent_at, now - newest.delivered_at)
        valid = interval >= self.min_rtt > 0
        self.control.on_ack(
            Acked(
                now=now,
                newly_acked=size,
                in_flight=self.in_flight,
                rtt=rtt,
                delay=arrived_at - newest.sent_at + self.clock_offset,
                delivered=self.delivered,
                prior_delivered=newest.delivered,
                delivery_rate=(self.delivered - newest.delivered) / interval if valid else 0.0,
                interval=interval,
                app_limited=newest.app_limited,
                tx_in_flight=newest.tx_in_flight,
                lost=self.lost - newest.lost,
                window_limited=self.window_limited,
                sent_at=newest.sent_at,
            )
        )
        self.window_limited = False
        self.log.append((now, self.delivered))

    def find_losses(self, now: float, newest: int) -> None:
        """The link keeps the order: whatever is older than what arrived is lost."""
        groups: dict[int, tuple[Batch, int]] = {}
        for number in list(takewhile(newest.__gt__, self.flight)):
            batch = self.flight.pop(number)
            groups[id(batch)] = (batch, groups.get(id(batch), (batch, 0))[1] + MSS)
        for batch, size in groups.values():
            self.lost += size
            self.control.on_loss(
                Lost(
                    now=now,
                    bytes=size,
                    sent_at=batch.sent_at,
                    in_flight=self.in_flight,
                    tx_in_flight=batch.tx_in_flight,
                    lost_since_sent=self.lost - batch.lost,
                    delivered_at_send=batch.delivered,
                    app_limited=batch.app_limited,
                )
            )

    def time_out(self, now: float) -> None:
        self.timeouts += 1
        self.lost += self.in_flight
        self.flight.clear()
        self.heard_at = now
        self.control.on_timeout(now)

    def rate(self, start: float, end: float) -> float:
        """Bytes per second delivered between two times."""
        inside = [delivered for at, delivered in self.log if start <= at <= end]
        return (inside[-1] - inside[0]) / (end - start) if inside else 0.0


class Simulation:
    """Runs flows over one link; everything happens in the order of virtual time."""

    def __init__(self, link: Link, *flows: Flow) -> None:
        self.link = link
        self.flows = flows
        self.now = 0.0
        self._order = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        for flow in flows:
            self.at(flow.start, lambda flow=flow: self.pump(flow))

    def at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(when, self.now), next(self._order), action))

    def run(self, until: float) -> None:
        """Let time pass."""
        while self._events and self._events[0][0] <= until:
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.now = until

    def pump(self, flow: Flow) -> None:
        """Send what may go, and come back when pacing, the application or the timer says so."""
        now = self.now
        patience = max(4 * flow.min_rtt, MIN_RTO) if flow.min_rtt < math.inf else 1.0
        if flow.flight and now > flow.heard_at + patience:
            flow.time_out(now)
        while packets := flow.allowed(now):
            for number in flow.send(now, packets):
                arrival = self.link.carry(now)
                if arrival is not None:
                    flow.arrivals.append((arrival, number))
        self._wake_receiver(flow)
        if flow.send_at is None or flow.send_at <= now:
            wait = flow.pacer.next_send_at() if flow.in_flight < flow.control.window else None
            flow.send_at = max(wait, now + 1e-6) if wait is not None else now + 0.01
            self.at(flow.send_at, lambda: self._timer(flow))

    def _timer(self, flow: Flow) -> None:
        flow.send_at = None
        self.pump(flow)

    def _wake_receiver(self, flow: Flow) -> None:
        if flow.wake_at is None and flow.arrivals:
            flow.wake_at = math.ceil(flow.arrivals[0][0] / flow.wake_every) * flow.wake_every
            self.at(flow.wake_at, lambda: self._receive(flow))

    def _receive(self, flow: Flow) -> None:
        now = self.now
        flow.wake_at = None
        numbers = []
        while flow.arrivals and flow.arrivals[0][0] <= now:
            numbers.append(flow.arrivals.popleft()[1])
        self.at(now + self.link.delay / 2, lambda: self._acked(flow, numbers, now))
        self._wake_receiver(flow)

    def _acked(self, flow: Flow, numbers: list[int], arrived_at: float) -> None:
        flow.acknowledge(self.now, numbers, arrived_at)
        self.pump(flow)
