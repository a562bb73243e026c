"""All connections of an endpoint: shared dials, crossed dials, strangers, idleness, restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from keynet.address import SocketAddress
from keynet.engine import Datagrams
from keynet.errors import (
    ClosedError,
    ConfigError,
    ConnectionLost,
    DeadlineExceeded,
    HandshakeFailed,
    IdentityError,
    LocallyClosed,
    LocalProtocolError,
)
from keynet.testing.clock import run
from keynet.testing.fakenet import FakeEndpoint, FakeNet
from keynet.testing.link import LinkModel
from keynet.testing.transport.hosts import Hosts, ask, echoing, hosts
from keynet.testing.transport.scene import identity, payload
from keynet.transport.connection import Connection
from keynet.transport.host import IDLE_TIMEOUT, MAX_PROVISIONAL, Host
from keynet.transport.refusals import MAX_REFUSALS
from keynet.transport.utp import transport
from keynet.transport.utp.packet import PacketType, decode, encode
from keynet.udp.api import Sent
from keynet.udp.path import Path

Program = Callable[[Hosts], Awaitable[None]]


def between_hosts(program: Program, link: LinkModel | None = None) -> None:
    async def whole() -> None:
        async with hosts(transport, link) as both:
            await program(both)

    run(whole())


def stranger(n: int) -> SocketAddress:
    return SocketAddress(f"192.0.{n >> 8}.{n & 255}", 5000)


def syn(connection_id: int = 2) -> bytes:
    return encode(PacketType.SYN, connection_id, 0, 0, 1 << 20, 1, 0)


async def works(connection: Connection) -> None:
    data = payload(30_000)
    assert await ask(connection, data) == data


class TestDialling:
    def test_simultaneous_calls_share_one_dial(self) -> None:
        async def program(both: Hosts) -> None:
            dials = [asyncio.create_task(both.connect()) for _ in range(5)]
            await asyncio.sleep(0)
            dials[0].cancel()
            dials[3].cancel()
            outcomes = await asyncio.gather(*dials, return_exceptions=True)
            found = {outcome for outcome in outcomes if isinstance(outcome, Connection)}
            assert len(found) == 1
            assert both.dialer.connections == tuple(found)
            assert await both.connect() in found

        between_hosts(program)

    def test_the_dial_ends_with_its_last_caller(self) -> None:
        async def program(both: Hosts) -> None:
            both.partition()
            dials = [asyncio.create_task(both.connect()) for _ in range(3)]
            await asyncio.sleep(0.1)
            for dial in dials:
                dial.cancel()
            await asyncio.gather(*dials, return_exceptions=True)
            await asyncio.sleep(2)
            assert both.dialer.stats()["connections"] == 0
            both.net.set_link(*both.endpoints, LinkModel())
            await both.connect()

        between_hosts(program)

    def test_a_dial_may_be_cancelled_at_any_moment(self) -> None:
        async def program(both: Hosts) -> None:
            async with echoing(both.listener):
                for moment in range(30):
                    dialling = asyncio.create_task(both.connect())
                    await asyncio.sleep(moment * 0.002)
                    dialling.cancel()
                    await asyncio.gather(dialling, return_exceptions=True)
                await works(await both.connect())

        between_hosts(program)

    def test_no_answer_is_an_error_for_every_caller(self) -> None:
        async def program(both: Hosts) -> None:
            both.partition()
            outcomes = await asyncio.gather(
                *(both.connect() for _ in range(3)), return_exceptions=True
            )
            assert all(isinstance(outcome, DeadlineExceeded) for outcome in outcomes), outcomes
            assert both.dialer.stats()["connections"] == 0

        between_hosts(program)

    def test_somebody_else_at_the_address_is_refused(self) -> None:
        async def program(both: Hosts) -> None:
            address = both.endpoints[1].addresses[0]
            with pytest.raises(IdentityError):
                await both.dialer.connect(identity("nobody").node_id, address)
            connection = await both.connect()
            with pytest.raises(IdentityError):
                await both.dialer.connect(identity("nobody").node_id, address)
            assert not connection.closed
            with pytest.raises(ConfigError):
                await both.dialer.connect(
                    identity("nobody").node_id, stranger(1), transport="pigeon"
                )

        between_hosts(program)

    @pytest.mark.parametrize("head_start", [0.0, 0.005, 0.01, 0.02, 0.03, 0.045])
    def test_crossed_dials_end_in_one_connection_each(self, head_start: float) -> None:
        async def program(both: Hosts) -> None:
            async def back() -> Connection:
                await asyncio.sleep(head_start)
                here = both.endpoints[0].addresses[0]
                return await both.listener.connect(both.dialer.identity.node_id, here)

            async with echoing(both.listener), echoing(both.dialer):
                one, other = await asyncio.gather(both.connect(), back())
                await asyncio.gather(works(one), works(other))
                assert len(both.dialer.connections) == len(both.listener.connections) == 1

        between_hosts(program)

    def test_the_inbound_connection_serves_calls_the_other_way(self) -> None:
        async def program(both: Hosts) -> None:
            async with echoing(both.dialer):
                await both.connect()
                await asyncio.sleep(1)
                inbound = both.listener.connection(both.dialer.identity.node_id)
                assert inbound is not None
                assert not inbound.dialed
                found = await both.listener.connect(both.dialer.identity.node_id, stranger(9))
                assert found is inbound
                await works(found)

        between_hosts(program)

    def test_a_cancelled_caller_does_not_end_the_peers_own_dial(self) -> None:
        async def program(both: Hosts) -> None:
            async with echoing(both.listener):
                inward = asyncio.create_task(both.connect())
                await asyncio.sleep(0.015)  # the listener has answered, and knows nobody yet
                here = both.endpoints[0].addresses[0]
                node_id = both.dialer.identity.node_id
                outward = asyncio.create_task(both.listener.connect(node_id, here))
                await asyncio.sleep(0.001)
                outward.cancel()
                await works(await inward)

        between_hosts(program)


class TestStrangers:
    def test_a_flood_makes_room_and_passes(self) -> None:
        async def program(both: Hosts) -> None:
            async with echoing(both.listener):
                for n in range(3 * MAX_PROVISIONAL):
                    both.endpoints[1].inject([syn()], stranger(n))
                await asyncio.sleep(0)
                stats = both.listener.stats()
                assert stats["provisional"] == MAX_PROVISIONAL
                assert stats["evicted"] == 2 * MAX_PROVISIONAL
                await works(await both.connect())
                await asyncio.sleep(20)
                assert both.listener.stats()["provisional"] == 0
                assert both.endpoints[1].budget._active == set()

        between_hosts(program)

    def test_a_flood_does_not_end_a_handshake_under_way(self) -> None:
        async def program(both: Hosts) -> None:
            async with echoing(both.listener):
                dialling = asyncio.create_task(both.connect())
                await asyncio.sleep(0.035)
                assert any(both.listener._provisional.values()), "it has been heard again"
                for n in range(3 * MAX_PROVISIONAL):
                    both.endpoints[1].inject([syn()], stranger(n))
                await works(await dialling)

        between_hosts(program)

    def test_a_forged_beginning_does_not_keep_a_dial_from_its_peer(self) -> None:
        async def program(both: Hosts) -> None:
            async with echoing(both.listener):
                both.endpoints[0].inject([syn()], both.endpoints[1].addresses[0])
                await asyncio.sleep(0)
                assert both.dialer.stats()["provisional"] == 1
                async with asyncio.timeout(2):
                    found = await asyncio.gather(both.connect(), both.connect())
                assert found[0] is found[1]
                await works(found[0])

        between_hosts(program)

    def test_what_no_transport_claims_is_counted(self) -> None:
        async def program(both: Hosts) -> None:
            for n, noise in enumerate((b"", b"x", bytes(20), syn(0), syn(65_535), syn()[:19])):
                both.endpoints[1].inject([noise], stranger(n))
            await asyncio.sleep(1)
            assert both.listener.stats()["provisional"] == 0
            assert both.listener.connections == ()

        between_hosts(program)

    def test_noise_from_a_peers_address_is_survived(self) -> None:
        async def program(both: Hosts) -> None:
            async with echoing(both.listener):
                connection = await both.connect()
                here = both.endpoints[0].addresses[0]
                for n in range(50):
                    both.endpoints[1].inject([payload(n * 7, n), syn(2 * n + 2)], here)
                await works(connection)

        between_hosts(program)


class TestTime:
    def test_an_unused_connection_is_let_go_and_a_new_one_is_made(self) -> None:
        async def program(both: Hosts) -> None:
            async with echoing(both.listener):
                first = await both.connect()
                await works(first)
                assert await both.connect() is first
                await asyncio.sleep(3 * IDLE_TIMEOUT)
                assert first.closed
                assert both.dialer.connections == both.listener.connections == ()
                await works(await both.connect())

        between_hosts(program)

    def test_a_connection_in_use_stays(self) -> None:
        async def program(both: Hosts) -> None:
            here, there = await both.streams()
            await asyncio.sleep(5 * IDLE_TIMEOUT)
            here.write(b"still")
            assert await there.read() == b"still"

        between_hosts(program)

    def test_nobody_is_given_a_connection_that_is_closing(self) -> None:
        async def program(both: Hosts) -> None:
            async with echoing(both.listener):
                for moment in range(8):
                    first = await both.connect()
                    stream = await first.open_stream()
                    stream.write(b"x")
                    first.close()
                    await asyncio.sleep(moment * 0.005)
                    again = await both.connect()
                    assert again is not first
                    await works(again)

        between_hosts(program)

    def test_a_peer_that_restarted_is_reached_and_reaches(self) -> None:
        """The old process is gone without a word; the new one has its address and its keys."""

        async def program() -> None:
            net = FakeNet()
            old, kept = net.endpoint(), net.endpoint()
            listening = Host(kept, identity("listener"), [transport()])
            dead = Host(old, identity("dialer"), [transport()])
            async with echoing(listening):
                await works(await dead.connect(identity("listener").node_id, kept.addresses[0]))
                address = old.addresses[0]
                old.close()
                dead.endpoint_failed(OSError("killed"))
                await dead.aclose()
                born = net.endpoint(address)
                reborn = Host(born, identity("dialer"), [transport()])
                async with echoing(reborn):
                    there = await reborn.connect(identity("listener").node_id, kept.addresses[0])
                    await works(there)
                    back = await listening.connect(identity("dialer").node_id, address)
                    await works(back)
            for endpoint in (born, kept):
                endpoint.close()

        run(program())

    @pytest.mark.parametrize("patience", [15.0, 60.0])
    def test_a_peer_that_moved_is_found_by_whoever_tries_again(self, patience: float) -> None:
        """Callers try again and again, which once kept the dead connection in use for ever."""

        async def program() -> None:
            net = FakeNet()
            here, left, new = net.endpoint(), net.endpoint(), net.endpoint()
            dialer = Host(here, identity("dialer"), [transport()])
            gone = Host(left, identity("listener"), [transport()])
            async with echoing(gone):
                await works(await dialer.connect(gone.identity.node_id, left.addresses[0]))
                left.close()
                gone.endpoint_failed(OSError("killed"))
            moved = Host(new, identity("listener"), [transport()])
            async with echoing(moved), echoing(dialer):
                dead = await dialer.connect(moved.identity.node_id, new.addresses[0])
                with pytest.raises((TimeoutError, DeadlineExceeded, ConnectionLost)):
                    await asyncio.wait_for(dead.open_stream(), patience)
                await asyncio.sleep(1)
                await works(await dialer.connect(moved.identity.node_id, new.addresses[0]))
            for endpoint in (here, new):
                endpoint.close()

        run(program())

    def test_who_never_ends_the_handshake_is_given_up(self) -> None:
        async def program(both: Hosts) -> None:
            target, seq = both.endpoints[1], 0
            target.inject([syn()], stranger(1))
            await asyncio.sleep(0.001)
            [provisional] = both.listener._provisional
            for _ in range(10):
                [stream] = provisional._engine._table.live.values()  # type: ignore[attr-defined]
                seq = stream.utp.outbound.board.una - 1
                target.inject([encode(PacketType.STATE, 3, 0, 0, 1 << 20, 2, seq)], stranger(1))
                await asyncio.sleep(3)
                if provisional.closed:
                    break
            assert both.listener.stats()["provisional"] == 0
            assert isinstance(provisional.error, DeadlineExceeded)

        between_hosts(program)


class TestEnding:
    def test_who_is_thrown_out_gives_back_its_share_of_the_socket(self) -> None:
        async def program(both: Hosts) -> None:
            here, there = await both.streams()
            here.write(payload(500_000))
            received = 0
            while received < 300_000:
                received += len(await there.read())
            assert both.endpoints[1].budget._active
            there.connection.abort(ConnectionLost("enough"))
            assert both.endpoints[1].budget._active == set()

        between_hosts(program)

    def test_a_broken_socket_is_told_to_whoever_accepts(self) -> None:
        async def program(both: Hosts) -> None:
            accepting = asyncio.create_task(both.listener.accept())
            await asyncio.sleep(0)
            both.listener.endpoint_failed(OSError("no such device"))
            with pytest.raises(ConnectionLost, match="no such device"):
                await accepting

        between_hosts(program)

    def test_everybody_is_told_and_nothing_is_left(self) -> None:
        async def program(both: Hosts) -> None:
            accepting = [asyncio.create_task(both.dialer.accept()) for _ in range(3)]
            await asyncio.sleep(0)
            accepting[0].cancel()
            here, there = await both.streams()
            reading = asyncio.create_task(there.read())
            await asyncio.gather(both.dialer.aclose(), both.dialer.aclose())
            outcomes = await asyncio.gather(*accepting, return_exceptions=True)
            assert isinstance(outcomes[0], asyncio.CancelledError)
            assert sum(isinstance(outcome, LocallyClosed) for outcome in outcomes) == 1
            assert await reading == b""
            for again in (both.connect(), both.dialer.accept(), here.read()):
                with pytest.raises(ClosedError):
                    await again
            assert both.dialer.connections == ()

        between_hosts(program)

    def test_a_dial_under_way_ends_with_the_host(self) -> None:
        async def program(both: Hosts) -> None:
            both.partition()
            dialling = asyncio.create_task(both.connect())
            await asyncio.sleep(0.1)
            await both.dialer.aclose()
            with pytest.raises((HandshakeFailed, LocallyClosed)):
                await dialling

        between_hosts(program)

    def test_a_broken_socket_is_told_to_whoever_dials(self) -> None:
        async def program(both: Hosts) -> None:
            both.partition()
            dialling = asyncio.create_task(both.connect())
            await asyncio.sleep(0.1)
            both.dialer.endpoint_failed(OSError("no buffer space"))
            with pytest.raises(HandshakeFailed, match="no buffer space"):
                await dialling

        between_hosts(program)

    def test_a_dead_path_is_told_and_a_new_dial_is_made(self) -> None:
        async def program(both: Hosts) -> None:
            async with echoing(both.listener):
                first = await both.connect()
                stream = await first.open_stream()
                both.partition()
                stream.write(b"anybody there?")
                began = asyncio.get_running_loop().time()
                with pytest.raises(ConnectionLost):
                    await stream.read()
                assert 14 < asyncio.get_running_loop().time() - began < 17
                both.net.set_link(*both.endpoints, LinkModel())
                await works(await both.connect())

        between_hosts(program)


def test_one_endpoint_carries_many_peers() -> None:
    async def program() -> None:
        net = FakeNet(link=LinkModel(latency=0.01, loss=0.01))
        endpoints: list[FakeEndpoint] = [net.endpoint() for _ in range(9)]
        made = [
            Host(endpoint, identity(f"peer {n}"), [transport()])
            for n, endpoint in enumerate(endpoints)
        ]
        async with echoing(made[0]):
            target = endpoints[0].addresses[0]
            found = await asyncio.gather(
                *(host.connect(identity("peer 0").node_id, target) for host in made[1:])
            )
            await asyncio.gather(*(works(connection) for connection in found for _ in range(3)))
            assert len(made[0].connections) == 8
            await asyncio.gather(*(host.aclose() for host in made[1:]))
        for endpoint in endpoints:
            endpoint.close()

    run(program())


class TestUnknownConnections:
    def test_their_packets_are_refused_so_that_a_restart_is_noticed(self) -> None:
        """A RESET for each, never longer than the packet, and only so many a second."""

        async def program(both: Hosts) -> None:
            endpoint = both.endpoints[1]
            answers: list[bytes] = []
            real = endpoint.send

            def watched(datagrams: Datagrams, path: Path) -> Sent:
                answers.append(bytes(datagrams.data))
                return real(datagrams, path)

            endpoint.send = watched  # type: ignore[method-assign]
            for n in range(3 * MAX_REFUSALS):
                both.listener.datagrams_received(
                    Datagrams(encode(PacketType.STATE, 7, 0, 0, 0, 40 + n, 9)),
                    Path(stranger(n)),
                    asyncio.get_running_loop().time(),
                )
            assert len(answers) == MAX_REFUSALS
            first = decode(answers[0])
            assert first is not None
            assert (first.type, first.connection_id, first.ack_nr) == (PacketType.RESET, 7, 40)
            reset = encode(PacketType.RESET, 7, 0, 0, 0, 1, 1)
            await asyncio.sleep(2)
            both.listener.datagrams_received(
                Datagrams(reset), Path(stranger(1)), asyncio.get_running_loop().time()
            )
            assert len(answers) == MAX_REFUSALS

        between_hosts(program)

    def test_a_peer_that_restarted_ends_its_old_streams_at_once(self) -> None:
        async def program(both: Hosts) -> None:
            connection = await both.connect()
            stream = await connection.open_stream()
            stream.write(b"hello")
            await asyncio.sleep(0.5)
            for old in list(both.listener.connections):
                old.abort(ConnectionLost("the process was killed"))
            stream.write(b"are you there?")
            async with asyncio.timeout(1):
                await stream.wait_closed()
            assert isinstance(stream.error, ClosedError)

        between_hosts(program)

    def test_a_bug_in_an_engine_is_kept_to_its_connection(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def program(both: Hosts) -> None:
            connection = await both.connect()
            await asyncio.sleep(0.5)
            (answered,) = both.listener.connections

            def broken(datagrams: Datagrams, now: float) -> None:
                raise ZeroDivisionError("a bug")

            answered.datagrams_received = broken  # type: ignore[method-assign]
            (await connection.open_stream()).write(b"hello")
            await asyncio.sleep(0.5)
            assert isinstance(answered.error, LocalProtocolError)
            await (await both.connect()).open_stream()
            await asyncio.sleep(0.5)
            assert len(both.listener.connections) == 1

        with caplog.at_level("CRITICAL"):
            between_hosts(program)
