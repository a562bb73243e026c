"""The link to one peer: its validated paths, which of them is used, and whether it lives. Sans-IO.

Pings are its only means: every path is pinged, and a pong is the sign of life (a ping could be a
replay). A ping from a new address is answered, and the path used after a pong of its own.

The node with the larger id controls: it chooses among the paths that it has validated, and says so
in a ping (USE-CANDIDATE). Until then, and when the path in use dies, each side takes the best that
it has.
"""

from __future__ import annotations

import random as _random
from collections import Counter, deque
from collections.abc import Callable

from keynet.address import NodeId, SocketAddress
from keynet.signalling.link_events import (
    LinkEvent,
    LinkLost,
    LinkRecovered,
    MappingChanged,
    PathDied,
    PathSelected,
    PathValidated,
    PunchEnded,
    PunchWanted,
)
from keynet.signalling.path_state import MAX_PATHS, SAFE_MTU, SETTLING, PathState, rank
from keynet.signalling.pings import ASK_BACK, PUNCH, Answered, Pings, Pongs, Probe
from keynet.signalling.puncher import Puncher
from keynet.signalling.settings import LinkSettings
from keynet.signalling.silence import Silence
from keynet.signalling.size_search import SizeSearch
from keynet.stun.binding import Ping, Pong
from keynet.udp.path import Path


class Link:
    """All paths to one peer. Terminated once LinkLost has been taken, or after `close`."""

    def __init__(
        self,
        local: NodeId,
        peer: NodeId,
        key: bytes,
        now: float,
        *,
        settings: LinkSettings,
        random: Callable[[int], bytes],
        rng: _random.Random,
        ceiling: Callable[[Path], int],
    ) -> None:
        """`key` is the two nodes' ping key; `random` gives unpredictable bytes, `rng` jitter;
        `ceiling` tells the largest UDP payload of the local interface towards a path."""
        self.local = local
        self.peer = peer
        self.controlling = local.public_key > peer.public_key
        self.puncher: Puncher | None = None
        """The punching under way, or the last one: its outcomes stay to be looked at."""
        self._punching = False
        self.counters: Counter[str] = Counter()
        self.opened_at = now
        self.closed = False
        self._settings = settings
        self._rng = rng
        self._pings = Pings(local, peer, key, random)
        self._sizes = SizeSearch(self._pings, ceiling, settings.mtu_interval)
        self._paths: dict[SocketAddress, PathState] = {}
        self.in_use: PathState | None = None
        """What is known of the path in use."""
        self._nominated: SocketAddress | None = None
        """What the controlling peer chose, before it was validated here."""
        self._silence = Silence(now, settings.loss_timeout)
        self._pongs = Pongs(key)
        self._outbox: deque[tuple[Path, bytes]] = deque(maxlen=256)
        self._events: deque[LinkEvent] = deque(maxlen=256)

    # What is known

    @property
    def path(self) -> Path | None:
        """The path in use."""
        return self.in_use.path if self.in_use is not None else None

    @property
    def rtt(self) -> float | None:
        """The round trip of the path in use, smoothed, in seconds."""
        return self.in_use.rtt if self.in_use is not None else None

    @property
    def is_punching(self) -> bool:
        """Whether addresses of the peer are being tried."""
        return self.puncher is not None and not self.puncher.finished

    @property
    def alarmed(self) -> bool:
        """Whether the path in use misses a pong, or there is none any more."""
        return self._silence.feared

    @property
    def heard_at(self) -> float:
        """The last authentic arrival over any path."""
        return self._silence.heard_at

    @property
    def paths(self) -> tuple[PathState, ...]:
        """All validated paths; the one in use is among them."""
        return tuple(self._paths.values())

    def mtu(self, path: Path) -> int:
        """The largest datagram known to pass whole over `path`, in bytes."""
        state = self._paths.get(path.remote)
        return state.mtu if state is not None else SAFE_MTU

    # Input

    def rename(self, local: NodeId, peer: NodeId, key: bytes, now: float) -> None:
        """The same two nodes by newer ids, with another ping key; paths stay."""
        self.local, self.peer = local, peer
        self.controlling = local.public_key > peer.public_key
        self._pings.rename(local, peer, key)
        self._pongs.rename(key)
        self.ask_now(now)

    def punch(self, puncher: Puncher, now: float) -> None:
        """Try addresses of the peer; in place of what was tried before."""
        if not self.closed:
            self.puncher, self._punching = puncher, True
            self._drive_puncher(now)

    def add_path(self, path: Path, now: float, rtt: float | None = None) -> None:
        """A path that a secure handshake has just validated: this side's may be done first."""
        if not self.closed:
            self._validated(path, now, rtt)
            self.heard(path.remote, now)
            state = self._paths[path.remote]
            state.ping_at = min(state.ping_at, now + SETTLING)
            state.search_at = max(state.search_at, now + 2 * SETTLING)

    def heard(self, source: SocketAddress, now: float) -> None:
        """An authenticated datagram of the peer came from `source`."""
        state = self._paths.get(source)
        if state is None or self.closed:
            return
        state.heard(now)
        silence = self._silence.heard(now, in_use=state is self.in_use)
        if silence is not None:
            self._events.append(LinkRecovered(state.path, silence))

    def receive(self, message: Ping | Pong, path: Path, now: float) -> None:
        """Take a ping or pong that names this peer, or is said to; it may be anybody's."""
        if self.closed:
            return
        if isinstance(message, Pong):
            self._receive_pong(message, path, now)
        else:
            self._receive_ping(message, path, now)

    def ask_now(self, now: float) -> None:
        """Ping the path in use without waiting for its time."""
        if self.in_use is not None and self.in_use.probe is None:
            self.in_use.ping_at = now
            self.handle_deadline(now)

    def failed(self, path: Path, reason: str) -> None:
        """A ping over `path` could not be sent."""
        if self.puncher is not None:
            self.puncher.failed(path.remote, reason)

    def network_down(self, reason: str | None) -> None:
        """This node's own network is down, or is up again (None): whose fault a loss will be."""
        self._silence.own_fault = reason

    def close(self) -> None:
        """No more pings, pongs or events. Idempotent."""
        self.closed = True
        self._pings.clear()
        self._outbox.clear()
        self._events.clear()

    # Output

    def next_event(self) -> LinkEvent | None:
        """The oldest event not yet taken, or None."""
        if not self._events:
            return None
        event = self._events.popleft()
        if isinstance(event, LinkLost):
            self.close()
        return event

    def datagrams_to_send(self, now: float) -> list[tuple[Path, bytes]]:
        """The pings and pongs that may go out now, each over its path, don't-fragment set."""
        if not self.closed:
            self._collect_pings(now)
        out, self._outbox = list(self._outbox), deque(maxlen=self._outbox.maxlen)
        return out

    def next_deadline(self) -> float | None:
        """When to call `handle_deadline`; None when nothing waits for time."""
        if self.closed:
            return None
        punching = self.puncher.next_deadline() if self.puncher is not None else None
        times = [self._pings.next_deadline(), self._silence.next_deadline(), punching]
        for state in self._paths.values():
            times += [self._dead_at(state), state.ping_at if state.probe is None else None]
            if state is self.in_use and state.size_probe is None:
                times.append(state.search_at)
        return min((at for at in times if at is not None), default=None)

    def handle_deadline(self, now: float) -> None:
        """Tell the link the time; harmless when nothing is due."""
        if self.closed:
            return
        self._drive_puncher(now)
        self._collect_pings(now)
        for state in list(self._paths.values()):
            self._keep(state, now)
        if self.in_use is not None:
            self._sizes.proceed(self.in_use, now)
            self._collect_pings(now)
        self._look_for_loss(now)

    # Pings and pongs

    def _receive_ping(self, ping: Ping, path: Path, now: float) -> None:
        if (answer := self._pongs.answer(ping, path.remote, now, self.counters)) is None:
            return
        self._outbox.append((path, answer))
        state = self._paths.get(path.remote)
        if state is None:
            self._ask_back(path, now)
        if not self.controlling and self._pongs.nominates(ping):
            if state is not None:
                self._select(state)
            else:
                self._nominated = path.remote

    def _ask_back(self, path: Path, now: float) -> None:
        """The peer can reach us from there: find out whether we can reach it."""
        if self.is_punching and self.puncher is not None:
            self.puncher.learn(path.remote, now)
            self._drive_puncher(now)
        elif self._pings.has_room_for_strangers and not self._pings.is_asking(path.remote):
            self._pings.start(path, now, pauses=ASK_BACK)

    def _receive_pong(self, message: Pong, path: Path, now: float) -> None:
        answered = self._pings.match(message, path.remote, now)
        if answered is None:
            self.counters["unexpected pongs"] += 1
            return
        self._validated(path, now, answered.rtt)
        self._learnt(answered, self._paths[path.remote], now)
        self.heard(path.remote, now)
        if self.puncher is not None:
            self.puncher.answered(path.remote, answered.rtt, now)

    def _learnt(self, answered: Answered, state: PathState, now: float) -> None:
        probe = answered.probe
        if state.mapped is not None and state.mapped != answered.mapped:
            self._events.append(MappingChanged(state.path, answered.mapped))
        state.mapped = answered.mapped
        if probe is state.probe:
            state.probe = None
        if probe is state.size_probe:
            self._sizes.answered(state, probe, now)
        if probe.nominate:
            self._select(state)
        self._choose(now)

    def _collect_pings(self, now: float) -> None:
        to_send, given_up = self._pings.due(now)
        self._outbox.extend((probe.path, datagram) for probe, datagram in to_send)
        for probe in given_up:
            state = self._paths.get(probe.path.remote)
            if state is not None:
                self._unanswered(probe, state, now)

    def _unanswered(self, probe: Probe, state: PathState, now: float) -> None:
        if probe is state.size_probe:
            self._sizes.unanswered(state, now)
        elif probe is state.probe:
            state.probe, state.ping_at = None, now  # until it is dead it is asked on

    def _drive_puncher(self, now: float) -> None:
        puncher = self.puncher
        if puncher is None or not self._punching:
            return
        while (address := puncher.due(now)) is not None:
            known = self._paths.get(address)
            self._pings.start(known.path if known else Path(address), now, pauses=PUNCH)
        if puncher.finished:
            self._punching = False
            self._events.append(PunchEnded(puncher.opened, puncher.why()))

    # Paths

    def _validated(self, path: Path, now: float, rtt: float | None) -> None:
        state = self._paths.get(path.remote)
        if state is None:
            self._make_room()
            state = PathState(path, now, now + self._interval(standby=True), search_at=now)
            self._paths[path.remote] = state
            self._silence.begin()
            if self.in_use is not None:
                self.in_use.ping_at = min(self.in_use.ping_at, now)  # is it still that way?
            self._events.append(PathValidated(path, rtt))
        state.path = path
        if rtt is not None:
            state.measured(rtt)
        if self._nominated == path.remote:
            self._nominated = None
            self._select(state)
        self._choose(now)

    def _make_room(self) -> None:
        if len(self._paths) < MAX_PATHS:
            return
        at_rest = (state for state in self._paths.values() if state is not self.in_use)
        self._drop(min(at_rest, key=lambda state: state.heard_at))

    def _drop(self, state: PathState) -> None:
        for probe in (state.probe, state.size_probe):
            if probe is not None:
                self._pings.end(probe)
        del self._paths[state.path.remote]

    def _choose(self, now: float) -> None:
        """Take what there is when nothing that works is in use; the controlling side looks for
        better, and says so."""
        best = min(self._paths.values(), key=rank, default=None)
        current = self.in_use
        if best is None or best is current:
            return
        if current is None or (current.failing and not best.failing):
            self._select(best)
        if (
            self.controlling
            and best.rtt is not None
            and best.is_better(current, self._settings.better)
        ):
            self._nominate(best, now)

    def _nominate(self, state: PathState, now: float) -> None:
        if state.probe is not None and state.probe.nominate:
            return
        if state.probe is not None:
            self._pings.end(state.probe)
        state.probe = self._pings.start(
            state.path, now, pauses=self._settings.retransmissions, nominate=True
        )

    def _select(self, state: PathState) -> None:
        if state is self.in_use:
            return
        self.in_use = state
        state.ping_at = min(state.ping_at, state.heard_at + self._interval(standby=False))
        self._events.append(PathSelected(state.path, state.mtu, state.rtt))

    # Time

    def _interval(self, *, standby: bool) -> float:
        return self._settings.interval(standby=standby) * self._rng.uniform(0.8, 1.2)

    def _dead_at(self, state: PathState) -> float:
        return state.heard_at + self._settings.timeout(standby=state is not self.in_use)

    def _keep(self, state: PathState, now: float) -> None:
        """Ping a path when it is time to; bury it when it has been silent for too long."""
        if now >= self._dead_at(state):
            self._bury(state, now)
            return
        if state.probe is None and now >= state.ping_at:
            nominate = self.controlling and state is self.in_use
            pauses = self._settings.retransmissions
            state.probe = self._pings.start(state.path, now, pauses=pauses, nominate=nominate)
            state.ping_at = now + self._interval(standby=state is not self.in_use)
            self._collect_pings(now)
        if state.failing and state is self.in_use:
            self._alarm(state, now)

    def _alarm(self, state: PathState, now: float) -> None:
        if self._silence.fear():
            self._events.append(PunchWanted(f"no pong came over {state.path.remote}"))
            self._choose(now)

    def _bury(self, state: PathState, now: float) -> None:
        self._drop(state)
        silent = f"nothing was heard over {state.path.remote} for {now - state.heard_at:.0f} s"
        self._events.append(PathDied(state.path, silent))
        if state is self.in_use:
            self.in_use = None
            self._alarm(state, now)
            self._choose(now)

    def _look_for_loss(self, now: float) -> None:
        if self._silence.is_loss(now):
            self._pings.clear()
            self._events.append(LinkLost(self._silence.reason(now)))
