"""EnginePair: two bare engines under a simulated clock, latency, loss and MTU. No asyncio.

The quickest way to test an engine: everything happens in the calling thread, in no time, and the
same way every time for one seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from keynet.engine import Datagrams, Engine
from keynet.testing.link import TIME_SLACK, LinkModel, Pipe, merged
from keynet.udp.budget import ReceiveBudget

AnyEngine = Engine[Any]
Accept = Callable[[Datagrams, float], AnyEngine | None]
"""Makes the answering engine of the first batch, which is not fed to it again; None: not yet."""

START = 1000.0
"""What `now` starts at: not zero, so that an engine cannot mistake "never" for a time."""

MOST_SENDS_AT_ONCE = 10_000
MOST_STEPS_AT_ONCE = 10_000


class Stalled(AssertionError):
    """The pair did not get where it was to: nothing is under way, time ran out, or it spins."""


@dataclass
class StaticLink:
    """A LinkInfo with fixed answers, for engines that are made without a link."""

    mtu: int = 1200
    mtu_ceiling: int = 1472
    rtt: float | None = None
    budget: ReceiveBudget = field(default_factory=lambda: ReceiveBudget(4 << 20))


class Side:
    """One engine of the pair, the pipe that it sends into, and what it has said."""

    def __init__(self, engine: AnyEngine | Accept, pipe: Pipe) -> None:
        self.pipe = pipe
        self.events: list[Any] = []
        """Every event so far, oldest first."""
        self.on_event: Callable[[Any], None] | None = None
        """Called with each event, with the pair's `now` current: write, read or close in it."""
        self.tap: Callable[[Datagrams], None] | None = None
        """Called with each batch that the engine sends, before the pipe has it."""
        self.accept: Accept | None = None
        self._engine: AnyEngine | None = None
        if callable(engine):
            self.accept = engine
        else:
            self._engine = engine

    @property
    def engine(self) -> Any:
        """The engine; an AssertionError while an accepting side has heard nothing yet."""
        assert self._engine is not None, "nothing has arrived, so nothing was accepted yet"
        return self._engine

    @property
    def engine_or_none(self) -> AnyEngine | None:
        return self._engine

    def receive(self, datagrams: Datagrams, now: float) -> None:
        if self._engine is not None:
            self._engine.receive(datagrams, now)
        elif self.accept is not None:
            self._engine = self.accept(datagrams, now)

    def send(self, datagrams: Datagrams, now: float) -> None:
        if self.tap is not None:
            self.tap(datagrams)
        self.pipe.send(datagrams, now)

    def deadline(self) -> float | None:
        return None if self._engine is None else self._engine.next_deadline()


class EnginePair:
    """Two engines, each sending to the other through a Pipe.

    `a` is an engine, `b` is another, or a function of (first batch, now) that makes it when the
    first batch arrives. `link` is the path from a to b, `back` the other way (the same by
    default). Assign to `pair.a.pipe.model` to change a path under way.
    """

    def __init__(
        self,
        a: AnyEngine,
        b: AnyEngine | Accept,
        *,
        link: LinkModel | None = None,
        back: LinkModel | None = None,
        seed: int = 0,
        now: float = START,
    ) -> None:
        there = link or LinkModel()
        rng = random.Random(seed)
        self.now = now
        self.a = Side(a, Pipe(there, random.Random(rng.random())))
        self.b = Side(b, Pipe(back or there, random.Random(rng.random())))
        self._steps_now = 0
        self._sends_now = 0

    def run(self, until: Callable[[], object] | float, *, limit: float = 60.0) -> None:
        """Let time pass: for `until` seconds, or until `until()` is true.

        Raises Stalled when the condition is not true after `limit` seconds of simulated time,
        when nothing is left that could make it true, or when an engine never rests.
        """
        if callable(until):
            self._run_until(until, self.now + limit)
        else:
            self._run_for(self.now + until)

    def settle(self) -> None:
        """Take events and send what is ready, without letting time pass."""
        self._take_events()
        for _ in range(MOST_STEPS_AT_ONCE):
            sent = self._transmit()
            if not self._take_events() and not sent:
                return
        raise Stalled("an engine always has something more to say at one instant")

    def _run_until(self, until: Callable[[], object], stop_at: float) -> None:
        self.settle()
        while not until():
            when = self._next_time()
            if when is None:
                raise Stalled(f"nothing is under way and no deadline is set, at {self.now:.3f}")
            if when > stop_at:
                raise Stalled(f"the condition did not come true by {stop_at:.3f}")
            self._step(when)

    def _run_for(self, stop_at: float) -> None:
        self.settle()
        while (when := self._next_time()) is not None and when <= stop_at:
            self._step(when)
        self.now = max(self.now, stop_at)

    def _step(self, when: float) -> None:
        if when > self.now:
            self._steps_now = self._sends_now = 0
        self._steps_now += 1
        if self._steps_now > MOST_STEPS_AT_ONCE:
            raise Stalled(f"an engine keeps a deadline that has passed, at {self.now:.3f}")
        self.now = max(self.now, when)
        self._deliver(self.a, self.b)
        self._deliver(self.b, self.a)
        for side in (self.a, self.b):
            deadline = side.deadline()
            if deadline is not None and deadline <= self.now + TIME_SLACK:
                side.engine.handle_deadline(max(self.now, deadline))
        self.settle()

    def _deliver(self, sender: Side, receiver: Side) -> None:
        for batch in merged(sender.pipe.arrivals(self.now)):
            receiver.receive(batch, self.now)

    def _transmit(self) -> bool:
        sent = False
        for side in (self.a, self.b):
            engine = side.engine_or_none
            while engine is not None and (batches := engine.datagrams_to_send(self.now)):
                sent = True
                self._sends_now += 1
                if self._sends_now > MOST_SENDS_AT_ONCE:
                    raise Stalled(f"datagrams_to_send never comes to an end, at {self.now:.3f}")
                for batch in batches:
                    side.send(batch, self.now)
        return sent

    def _take_events(self) -> bool:
        taken = False
        for side in (self.a, self.b):
            engine = side.engine_or_none
            while engine is not None and (event := engine.next_event()) is not None:
                taken = True
                side.events.append(event)
                if side.on_event is not None:
                    side.on_event(event)
        return taken

    def _next_time(self) -> float | None:
        times = [self.a.pipe.next_arrival(), self.b.pipe.next_arrival()]
        times += [self.a.deadline(), self.b.deadline()]
        return min((t for t in times if t is not None), default=None)
