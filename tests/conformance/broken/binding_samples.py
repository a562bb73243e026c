"""The faults: each class breaks one thing, and names the check that must find it."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar, cast

import msgspec
from keynet_framed.frames import LENGTH
from keynet_framed.server import Server as FramedServer

from keynet.address import NodeId
from keynet.errors import RpcError
from keynet.identity import PeerIdentity
from keynet.rpc.api import (
    ByteStream,
    Call,
    Channel,
    ClientCall,
    Dispatch,
    Exchange,
    Metadata,
    Network,
    Request,
    Send,
    Server,
)
from keynet.rpc.invocation import invoke
from keynet.rpc.status import Status, rpc_error
from keynet.testing.rpc.probe import Everything
from tests.conformance.broken.bindings import Caller, Sample, Serving

# What is carried.


class HasAnUntypableName(Sample):
    rejected_by = "check_is_a_binding"
    name = "Broken Binding!"


class RoundsNumbers(Sample):
    rejected_by = "check_carries_values"

    class caller(Caller):
        async def result(self) -> Any:
            value = await super().result()
            if isinstance(value, Everything):
                value.ratio = float(int(value.ratio))
            return value


class LosesAnItem(Sample):
    rejected_by = "check_carries_the_four_kinds"

    class caller(Caller):
        received = 0

        async def receive(self) -> Any:
            self.received += 1
            if self.received == 100:
                await super().receive()
            return await super().receive()


class HoldsItemsBack(Sample):
    """Sends all items once there are no more."""

    rejected_by = "check_goes_back_and_forth"

    class caller(Caller):
        def __init__(self, call: ClientCall, request: Request) -> None:
            super().__init__(call, request)
            self.held: list[Any] = []

        async def send(self, item: Any) -> None:
            self.held.append(item)

        async def finish_sending(self) -> None:
            held, self.held = self.held, []
            for item in held:
                await super().send(item)
            await super().finish_sending()


class MixesUpCalls(Sample):
    """Gives whoever waits the answer that comes first."""

    rejected_by = "check_runs_calls_side_by_side"

    class caller(Caller):
        answers: ClassVar[dict[str, list[Any]]] = {}

        async def result(self) -> Any:
            answers = self.answers.setdefault(self.request.method.name, [])
            answers.append(await super().result())
            await asyncio.sleep(0)
            return answers.pop()


class LosesTheLastItem(Sample):
    rejected_by = "check_keeps_the_last_item"

    class caller(Caller):
        ahead: tuple[Any, ...] = ()

        async def receive(self) -> Any:
            if not self.ahead:
                self.ahead = (await super().receive(),)
            (item,), self.ahead = self.ahead, (await super().receive(),)
            return item


class CannotServeAndCall(Sample):
    rejected_by = "check_serves_both_ways"
    serving_nodes: ClassVar[set[NodeId]] = set()

    async def serve(self, network: Network, dispatch: Dispatch) -> Server:
        self.serving_nodes.add(network.node_id)
        return await super().serve(network, dispatch)

    def connect(self, network: Network, node_id: NodeId) -> Channel:
        if network.node_id in self.serving_nodes:
            raise RuntimeError("this node serves")
        return super().connect(network, node_id)


# How calls end.


class CallsWhatIsUnknownInternal(Sample):
    rejected_by = "check_refuses_unknown_methods"

    class caller(Caller):
        def translated(self, error: RpcError) -> RpcError:
            unknown = error.status == Status.UNIMPLEMENTED
            return rpc_error(Status.INTERNAL, str(error)) if unknown else error


class QuotesWhatItWasGiven(Sample):
    rejected_by = "check_refuses_wrong_types"

    class caller(Caller):
        def translated(self, error: RpcError) -> RpcError:
            return rpc_error(Status(error.status), f"{error} in {self.request.params}")


class KnowsFewStatuses(Sample):
    rejected_by = "check_carries_every_status"

    class caller(Caller):
        def translated(self, error: RpcError) -> RpcError:
            known = error.status <= Status.ABORTED
            return error if known else rpc_error(Status.UNKNOWN, str(error))


class ForgetsDetails(Sample):
    rejected_by = "check_carries_every_status"

    class caller(Caller):
        def translated(self, error: RpcError) -> RpcError:
            return rpc_error(Status(error.status), error.message)


class CutsDetails(Sample):
    rejected_by = "check_carries_large_details"

    class caller(Caller):
        def translated(self, error: RpcError) -> RpcError:
            return rpc_error(Status(error.status), error.message, error.details[:1024])


class LeaksExceptions(Sample):
    rejected_by = "check_leaks_no_exception"

    class serving(Serving):
        async def run(self, *args: Any) -> Any:
            try:
                return await super().run(*args)
            except RpcError as error:
                raise rpc_error(Status(error.status), repr(error.__cause__)) from error


class DropsItemsOnFailure(Sample):
    """Looks at the end of a call before it gives out the items."""

    rejected_by = "check_keeps_items_before_a_failure"

    class caller(Caller):
        items: list[Any] | None = None

        async def receive(self) -> Any:
            if self.items is None:
                self.items = await self._all()
            if not self.items:
                raise StopAsyncIteration
            return self.items.pop(0)

        async def _all(self) -> list[Any]:
            items = []
            try:
                while True:
                    items.append(await super().receive())
            except StopAsyncIteration:
                return items


class DiesOfWrongResults(Sample):
    rejected_by = "check_survives_wrong_results"

    class serving(Serving):
        async def run(self, *args: Any) -> Any:
            result = await super().run(*args)
            msgspec.msgpack.encode(result)
            return result


class SaysNoKind(Sample):
    rejected_by = "check_refuses_wrong_kinds"

    class serving(Serving):
        def admit(self, name: str, peer: PeerIdentity, **options: Any) -> Any:
            return super().admit(name, peer, **{**options, "kind": None})


# Time.


class HasNoDefault(Sample):
    rejected_by = "check_has_a_default_timeout"

    class serving(Serving):
        def admit(self, name: str, peer: PeerIdentity, **options: Any) -> Any:
            timeout = options.pop("timeout")
            timeout = math.inf if timeout is None else timeout
            return super().admit(name, peer, timeout=timeout, **options)


class EndsSlowStreams(Sample):
    rejected_by = "check_ends_by_default"

    class serving(Serving):
        async def run(self, call: Call, *args: Any) -> Any:
            async with asyncio.timeout(20.0):
                return await super().run(call, *args)


class ForgetsTheTimeout(Sample):
    rejected_by = "check_keeps_the_callers_timeout"

    async def start(self, channel: Channel, request: Request) -> ClientCall:
        return await super().start(channel, dataclasses.replace(request, timeout=None))


class CallsLatenessCancelled(Sample):
    rejected_by = "check_keeps_the_servers_maximum"

    class caller(Caller):
        def translated(self, error: RpcError) -> RpcError:
            late = error.status == Status.DEADLINE_EXCEEDED
            return rpc_error(Status.CANCELLED, str(error)) if late else error


class CancelsEverybody(Sample):
    rejected_by = "check_cancels_the_function"

    class caller(Caller):
        calls: ClassVar[list[ClientCall]] = []

        def __init__(self, call: ClientCall, request: Request) -> None:
            super().__init__(call, request)
            self.calls.append(call)

        def cancel(self) -> None:
            while self.calls:
                self.calls.pop().cancel()


class CancelsLate(Sample):
    rejected_by = "check_cancels_what_is_abandoned"

    class caller(Caller):
        def cancel(self) -> None:
            asyncio.get_running_loop().call_later(1.0, self.call.cancel)


class RaisesOnSecondCancel(Sample):
    rejected_by = "check_cancels_at_any_moment"

    class caller(Caller):
        cancelled = False

        def cancel(self) -> None:
            if self.cancelled:
                raise RuntimeError("cancelled already")
            self.cancelled = True
            super().cancel()


class LosesItemsOfCancelledReaders(Sample):
    rejected_by = "check_receives_cancellably"

    class caller(Caller):
        async def receive(self) -> Any:
            item = await super().receive()
            await asyncio.sleep(0)
            return item


# What goes along.


class ReversesMetadata(Sample):
    rejected_by = "check_carries_metadata"

    class serving(Serving):
        def admit(self, name: str, peer: PeerIdentity, **options: Any) -> Any:
            metadata = options.pop("metadata")[::-1]
            return super().admit(name, peer, metadata=metadata, **options)


class ForgetsMetadataOfFailures(Sample):
    rejected_by = "check_carries_reply_metadata"

    class caller(Caller):
        failed = False

        def translated(self, error: RpcError) -> RpcError:
            self.failed = True
            return error

        @property
        def reply_metadata(self) -> Metadata:
            return () if self.failed else super().reply_metadata


class RunsFunctionsItself(Sample):
    rejected_by = "check_runs_interceptors"

    class serving(Serving):
        async def run(
            self,
            call: Call,
            params: Any,
            requests: AsyncIterator[Any] | None = None,
            send: Send | None = None,
        ) -> Any:
            return await invoke(Exchange(call, params, requests, send))


class HidesTheCertificates(Sample):
    rejected_by = "check_tells_who_calls"

    class serving(Serving):
        def admit(self, name: str, peer: PeerIdentity, **options: Any) -> Any:
            return super().admit(name, dataclasses.replace(peer, chain=()), **options)


class HidesWhatIsClosed(Sample):
    rejected_by = "check_keeps_access_rules"

    class caller(Caller):
        def translated(self, error: RpcError) -> RpcError:
            denied = error.status == Status.PERMISSION_DENIED
            return rpc_error(Status.UNIMPLEMENTED, "no such method") if denied else error


class SaysNotWhenToTryAgain(Sample):
    rejected_by = "check_limits_public_services"

    class caller(Caller):
        def translated(self, error: RpcError) -> RpcError:
            return rpc_error(Status(error.status), "no")


# Limits.


class TakesMessagesOfAnySize(Sample):
    rejected_by = "check_limits_messages"

    class serving(Serving):
        max_message_size = 1 << 30


class HasNoLimitAtTheCaller(Sample):
    rejected_by = "check_limits_messages_at_the_caller"
    limit = 1 << 30


class NeverMakesRoom(Sample):
    rejected_by = "check_limits_calls"

    class serving(Serving):
        @contextmanager
        def admit(self, name: str, peer: PeerIdentity, **options: Any) -> Iterator[Call]:
            kept = ExitStack()
            yield kept.enter_context(self.dispatch.admit(name, peer, **options))
            self.kept = (*getattr(self, "kept", ()), kept)


class HoldsRefusedCalls(Sample):
    rejected_by = "check_survives_many_calls"

    class caller(Caller):
        async def result(self) -> Any:
            try:
                return await super().result()
            except RpcError as error:
                if error.status == Status.RESOURCE_EXHAUSTED:
                    await asyncio.sleep(500)
                raise


# Back-pressure.


class ReadsAhead(Sample):
    """Takes whatever comes, and keeps it."""

    rejected_by = "check_holds_the_function"

    class caller(Caller):
        def __init__(self, call: ClientCall, request: Request) -> None:
            super().__init__(call, request)
            self.items: asyncio.Queue[Any] = asyncio.Queue()
            self.reading: asyncio.Task[None] | None = None
            if request.method.kind.server_streams:
                self.reading = asyncio.create_task(self._read())

        async def _read(self) -> None:
            try:
                while True:
                    self.items.put_nowait(await super().receive())
            except (RpcError, StopAsyncIteration) as end:
                self.items.put_nowait(end)

        async def receive(self) -> Any:
            item = await self.items.get()
            if isinstance(item, Exception):
                raise item
            return item

        def cancel(self) -> None:
            super().cancel()
            if self.reading is not None:
                self.reading.cancel()


class SendsWithoutWaiting(Sample):
    rejected_by = "check_holds_the_caller"

    class caller(Caller):
        def __init__(self, call: ClientCall, request: Request) -> None:
            super().__init__(call, request)
            self.sending: list[asyncio.Task[None]] = []

        async def send(self, item: Any) -> None:
            self.sending.append(asyncio.create_task(super().send(item)))
            await asyncio.sleep(0)


class GivesUpOnSlowReaders(Sample):
    rejected_by = "check_goes_on_after_a_stall"

    class caller(Caller):
        async def send(self, item: Any) -> None:
            try:
                async with asyncio.timeout(0.01):
                    await super().send(item)
            except TimeoutError:
                self.cancel()


class InsistsOnReading(Sample):
    rejected_by = "check_lets_functions_stop_reading"

    class serving(Serving):
        async def run(
            self,
            call: Call,
            params: Any,
            requests: AsyncIterator[Any] | None = None,
            send: Send | None = None,
        ) -> Any:
            result = await super().run(call, params, requests, send)
            if requests is not None:
                async for _ in requests:
                    raise rpc_error(Status.INTERNAL, "the function did not read everything")
            return result


class DiesOfAFault(Sample):
    rejected_by = "check_contains_bad_functions"

    class serving(Serving):
        dead = False

        async def run(self, *args: Any) -> Any:
            if self.dead:
                raise rpc_error(Status.UNAVAILABLE, "it has died")
            try:
                return await super().run(*args)
            except RpcError as error:
                self.dead = error.status == Status.INTERNAL
                raise


# Endings.


class ForgetsTheReason(Sample):
    rejected_by = "check_tells_of_a_lost_connection"

    class caller(Caller):
        def translated(self, error: RpcError) -> RpcError:
            gone = error.status == Status.UNAVAILABLE
            return rpc_error(Status.UNAVAILABLE, "something went wrong") if gone else error


class NoticesALossLate(Sample):
    rejected_by = "check_tells_of_a_lost_connection"

    class caller(Caller):
        async def result(self) -> Any:
            try:
                return await super().result()
            except RpcError as error:
                if error.status == Status.UNAVAILABLE:
                    await asyncio.sleep(30)
                raise


class StaysBroken(Sample):
    rejected_by = "check_calls_again_after_a_loss"

    async def start(self, channel: Channel, request: Request) -> ClientCall:
        if self.lost:
            raise rpc_error(Status.UNAVAILABLE, "the connection was lost")
        return await super().start(channel, request)

    def connect(self, network: Network, node_id: NodeId) -> Channel:
        self.network: Any = network
        return super().connect(network, node_id)

    @property
    def lost(self) -> bool:
        return bool(self.network._near is not None and self.network._near.closed)


class CallsAbsenceInternal(Sample):
    rejected_by = "check_tells_why_a_peer_is_not_reached"

    async def start(self, channel: Channel, request: Request) -> ClientCall:
        try:
            return await super().start(channel, request)
        except RpcError as error:
            raise rpc_error(Status.INTERNAL, str(error)) from error


class DropsCallsAtOnce(Sample):
    rejected_by = "check_drains"

    class serving(Serving):
        async def drain(self, binding: str, grace: float = 5.0) -> None:
            await super().drain(binding, 0.0)


class WaitsBeyondTheGrace(Sample):
    rejected_by = "check_ends_what_outlasts_the_grace"

    class serving(Serving):
        async def drain(self, binding: str, grace: float = 5.0) -> None:
            await super().drain(binding, 10 * grace)


class ClosesInSilence(Sample):
    """Leaves the calls of a channel that is closed to themselves."""

    rejected_by = "check_closes_channels"

    async def aclose(self, channel: Channel) -> None:
        """Do nothing."""


# Peers that do not speak it.


class RaisesOnGarbage(Sample):
    """A server whose handler believes what it reads."""

    rejected_by = "check_survives_garbage"

    async def serve(self, network: Network, dispatch: Dispatch) -> Server:
        server = await super().serve(network, dispatch)
        sound = cast(FramedServer, server)

        async def serve(stream: ByteStream, begun: bytes) -> None:
            begun += await stream.read()
            assert LENGTH.unpack_from(begun)[0] < 1 << 20, "no message is as long"
            await sound._serve(stream, begun)

        network.serve_protocol(self.name, serve)
        return server


class RaisesWhatItLikes(Sample):
    rejected_by = "check_survives_answers_of_garbage"

    class caller(Caller):
        def translated(self, error: RpcError) -> RpcError:
            raise ValueError(error.message) from error


class LeaksATask(Sample):
    rejected_by = "check_carries_values"
    tasks: ClassVar[list[asyncio.Task[None]]] = []

    async def start(self, channel: Channel, request: Request) -> ClientCall:
        self.tasks.append(asyncio.create_task(asyncio.sleep(3000)))
        return await super().start(channel, request)


def _concrete(base: type[Sample]) -> list[type[Sample]]:
    direct = base.__subclasses__()
    return list(itertools.chain(direct, *(_concrete(sample) for sample in direct)))


SAMPLES = _concrete(Sample)
