"""Runs what peers call: which methods there are, who may call them, limits, deadlines, errors.

Every binding serves through one Dispatcher, so that a call means the same in all of them. Nothing
here knows how calls are encoded or carried.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from keynet.errors import ConfigError, LocalProtocolError, RpcError
from keynet.identity import PeerIdentity
from keynet.rpc.access import CallAccess
from keynet.rpc.api import Call, Exchange, Metadata, Send, ServerInterceptor
from keynet.rpc.chain import chain
from keynet.rpc.invocation import invoke
from keynet.rpc.limits import DEFAULT, Limits, PublicRates, Slots
from keynet.rpc.metadata import checked
from keynet.rpc.method import Kind, Method, untyped
from keynet.rpc.running import ABANDON_AFTER, Running
from keynet.rpc.service import Service
from keynet.rpc.status import SHUTTING_DOWN, Status, rpc_error

log = logging.getLogger(__name__)

GRACE = 5.0
"""Seconds that running calls have when a node shuts down, by default."""

FAILED = "the method failed; the server's log says why"
_ERRORS = frozenset(Status) - {Status.OK}

DENIED = "this node does not let you call that; its owner can allow it"


class Dispatcher:
    """The serving half that all bindings of one node share."""

    def __init__(
        self,
        services: Iterable[Service] = (),
        *,
        access: CallAccess | None = None,
        limits: Limits = DEFAULT,
        interceptors: Sequence[ServerInterceptor] = (),
    ) -> None:
        """Without `access`, peers may call public services only. Raises ConfigError."""
        self.access = CallAccess() if access is None else access
        """Who may call what; change it while calls run."""
        self.limits = limits
        self.admitted: Counter[str] = Counter()
        """Calls that were taken so far, by binding."""
        self.refused: Counter[str] = Counter()
        """Calls that were not: unknown, closed to the peer, beyond the limits, or too late."""
        self._services: dict[str, Service] = {}
        self._proceed = chain(interceptors, invoke)
        self._slots = Slots(limits)
        self._rates = PublicRates(limits)
        self._running: dict[Call, Running] = {}
        self._released = asyncio.Event()
        self._draining: set[str] = set()
        self._closing = False
        for service in services:
            self.add(service)

    @property
    def max_message_size(self) -> int:
        """Bytes of one encoded message that a binding takes before it refuses."""
        return self.limits.max_message_size

    @property
    def calls(self) -> int:
        """Calls that run now, with abandoned functions that have not ended."""
        return len(self._slots)

    # Which methods there are.

    @property
    def services(self) -> tuple[Service, ...]:
        """What is served now."""
        return tuple(self._services.values())

    def add(self, service: Service) -> None:
        """Serve `service` from now on. Raises ConfigError when its name is taken."""
        if service.name in self._services:
            raise ConfigError(f"a service {service.name} is served already")
        self._services[service.name] = service

    def remove(self, name: str) -> None:
        """Admit no more calls to that service; those that run go on. Raises ConfigError."""
        if self._services.pop(name, None) is None:
            raise ConfigError(f"no service {name} is served")

    def open_to(self, peer: PeerIdentity) -> list[Method[..., Any]]:
        """The methods that `peer` may call, of all services."""
        return [
            method
            for service in self._services.values()
            for method in service
            if service.public or self.access.permits(peer.lineage, method.full_name)
        ]

    def is_open(self, name: str, peer: PeerIdentity) -> bool:
        """Whether rules let `peer` call a method that a binding serves by itself."""
        return self.access.permits(peer.lineage, name)

    # Calls.

    def admit(
        self,
        name: str,
        peer: PeerIdentity,
        *,
        binding: str,
        kind: Kind | None = None,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> AbstractContextManager[Call]:
        """A slot for a call of method `name`; see `api.Dispatch`."""

        def begin() -> Call:
            now = asyncio.get_running_loop().time()
            method = self._find(name, peer, now)
            _check_kind(method, kind)
            deadline = self._deadline(method, timeout, now)
            return Call(method, peer, _checked(metadata), deadline, binding)

        return self._slot(binding, begin)

    def admit_foreign(
        self, name: str, peer: PeerIdentity, *, binding: str
    ) -> AbstractContextManager[Call]:
        """A slot for a method that the binding serves by itself; see `api.Dispatch`."""

        def begin() -> Call:
            if not self.is_open(name, peer):
                raise rpc_error(Status.PERMISSION_DENIED, DENIED)
            return Call(_foreign(name), peer, (), None, binding)

        return self._slot(binding, begin)

    async def run(
        self,
        call: Call,
        params: Any,
        requests: AsyncIterator[Any] | None = None,
        send: Send | None = None,
    ) -> Any:
        """Run an admitted call; see `api.Dispatch`. Returns at the deadline at the latest."""
        running = self._running.get(call)
        if running is None:
            raise LocalProtocolError("a call runs inside the context that admitted it")
        exchange = Exchange(
            call,
            params,
            None if requests is None else running.requests(requests),
            None if send is None else running.send(send),
        )
        try:
            return await running.run(partial(self._attempt, exchange, running))
        finally:
            _check_reply(call)

    async def drain(self, binding: str, grace: float = GRACE) -> None:
        """Admit no calls of `binding` meanwhile, give those that run `grace` seconds, then have
        them end with UNAVAILABLE. The binding takes no more calls afterwards. Cancellable."""
        self._draining.add(binding)
        try:
            await self._end_all(lambda call: call.binding == binding, grace)
        finally:
            self._draining.discard(binding)

    async def aclose(self, grace: float = GRACE) -> None:
        """As `drain`, for every binding and for good. Idempotent."""
        self._closing = True
        await self._end_all(lambda call: True, grace)

    def _check_open(self, binding: str) -> None:
        if self._closing or binding in self._draining:
            raise rpc_error(Status.UNAVAILABLE, SHUTTING_DOWN)

    @contextmanager
    def _slot(self, binding: str, begin: Callable[[], Call]) -> Iterator[Call]:
        """Hold a slot for the call that `begin` makes, unless it or the limits refuse it."""
        try:
            self._check_open(binding)
            call = begin()
            stranger = not self.access.knows(call.peer.lineage)
            self._slots.take(call.peer.node_id, stranger=stranger)
        except RpcError:
            self.refused[binding] += 1
            raise
        self.admitted[binding] += 1
        running = self._running[call] = Running(call, partial(self._release, stranger))
        try:
            yield call
        finally:
            running.leave()

    def _find(self, name: str, peer: PeerIdentity, now: float) -> Method[..., Any]:
        service_name, _, method_name = name.rpartition(".")
        service = self._services.get(service_name)
        public = service is not None and service.public
        if public and not self.access.is_owner(peer.lineage):
            self._rates.take(peer.node_id, now)
        if not public and not self.access.knows(peer.lineage):
            raise rpc_error(Status.PERMISSION_DENIED, DENIED)
        method = None if service is None else service.find(method_name)
        if method is None:
            raise rpc_error(Status.UNIMPLEMENTED, f"there is no method {name} here")
        if not public and not self.access.permits(peer.lineage, name):
            raise rpc_error(Status.PERMISSION_DENIED, DENIED)
        return method

    def _deadline(
        self, method: Method[..., Any], timeout: float | None, now: float
    ) -> float | None:
        if timeout is not None and math.isnan(timeout):
            raise rpc_error(Status.INVALID_ARGUMENT, "a timeout is a number of seconds")
        allowed = self.limits.timeout(method.kind, timeout)
        return None if allowed is None or allowed == math.inf else now + allowed

    async def _attempt(self, exchange: Exchange, running: Running) -> Any:
        try:
            return await self._proceed(exchange)
        except RpcError as error:
            raise _bounded(error, exchange.call) from error
        except asyncio.CancelledError as error:
            if running.over:
                raise
            raise _failed(exchange.call) from error
        except Exception as error:  # whatever users' functions raise
            raise _failed(exchange.call) from error

    def _release(self, stranger: bool, call: Call) -> None:
        del self._running[call]
        self._slots.release(call.peer.node_id, stranger=stranger)
        self._released.set()

    async def _end_all(self, chosen: Callable[[Call], bool], grace: float) -> None:
        calls = {call for call in self._running if chosen(call)}
        if await self._all_released(calls, grace):
            return
        for call in calls & self._running.keys():
            self._running[call].end(rpc_error(Status.UNAVAILABLE, SHUTTING_DOWN))
        await self._all_released(calls, ABANDON_AFTER)

    async def _all_released(self, calls: Collection[Call], patience: float) -> bool:
        """Wait until none of `calls` runs, at most `patience` seconds; whether that came true."""
        try:
            async with asyncio.timeout(patience):
                while not self._running.keys().isdisjoint(calls):
                    self._released.clear()
                    await self._released.wait()
        except TimeoutError:
            return False
        return True


def _foreign(name: str) -> Method[..., Any]:
    try:
        return untyped(name, Kind.DUPLEX)
    except ConfigError as error:
        raise rpc_error(Status.UNIMPLEMENTED, str(error)) from error


def _check_kind(method: Method[..., Any], asked: Kind | None) -> None:
    if asked is not None and asked is not method.kind:
        text = f"{method.full_name} is {method.kind.value}, not {asked.value}: call it as that"
        raise rpc_error(Status.INVALID_ARGUMENT, text)


def _checked(metadata: Metadata) -> Metadata:
    try:
        return checked(metadata)
    except ConfigError as error:
        raise rpc_error(Status.INVALID_ARGUMENT, str(error)) from error


def _check_reply(call: Call) -> None:
    """Drop reply metadata that cannot be carried: the call ends as it would have without."""
    try:
        checked(call.reply_metadata)
    except ConfigError as error:
        log.error("%s: its reply metadata is left out: %s", call.method.full_name, error)
        call.reply_metadata.clear()


def _bounded(error: RpcError, call: Call) -> RpcError:
    """A function's RpcError as it may cross the network; INTERNAL when it is none."""
    well_formed = isinstance(error.message, str) and isinstance(error.details, bytes)
    if error.status not in _ERRORS or not well_formed:
        return _failed(call)
    return rpc_error(Status(error.status), error.message, error.details)


def _failed(call: Call) -> RpcError:
    """INTERNAL, and what really happened in the log: call it where the exception is caught."""
    log.exception("%s, called by %s, failed", call.method.full_name, call.peer.node_id.short)
    return rpc_error(Status.INTERNAL, FAILED)
