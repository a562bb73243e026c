"""Who is at an address: nodes that get a new key while connected, and nodes that take another's
place there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from keynet.address import SocketAddress
from keynet.errors import ClosedError, IdentityError, KeynetError, PeerReplaced, UnclaimedNodeId
from keynet.identity import Identity
from keynet.signalling.settings import LinkSettings
from keynet.testing.clock import run
from keynet.testing.fakenet import FakeNet
from keynet.testing.transport.hosts import Hosts, ask, echoing, hosts
from keynet.testing.transport.scene import identity, payload
from keynet.transport.connection import Connection
from keynet.transport.host import Host
from keynet.transport.utp import transport
from keynet.transport.utp.packet import PacketType, encode
from keynet.transport.utp.proofs import OUTDATED_FOR

Program = Callable[[Hosts], Awaitable[None]]
OLD, NEW = identity("listener"), identity("listener'")


def between_hosts(program: Program) -> None:
    async def whole() -> None:
        async with hosts(transport) as both:
            await program(both)

    run(whole())


async def works(connection: Connection) -> None:
    data = payload(30_000)
    assert await ask(connection, data) == data


class TestRotation:
    def test_new_connections_show_the_new_identity_and_answer_to_the_old(self) -> None:
        async def program(both: Hosts) -> None:
            address = both.endpoints[1].addresses[0]
            async with echoing(both.listener):
                first = await both.connect()
                both.listener.identity = NEW
                await works(first)
                await first.aclose()
                await asyncio.sleep(1)
                second = await both.dialer.connect(OLD.node_id, address)
                assert second.peer.node_id == NEW.node_id
                assert both.dialer.connection(NEW.node_id) is second
                assert both.dialer.connection(OLD.node_id) is second
                assert await both.dialer.connect(NEW.node_id, address) is second
                await works(second)

        between_hosts(program)

    @pytest.mark.parametrize("who", ["dialer", "listener"])
    def test_a_connection_that_is_never_without_a_stream_shows_it_too(self, who: str) -> None:
        async def program(both: Hosts) -> None:
            here, there = await both.streams()
            changing, other = both.dialer, there.connection
            if who == "listener":
                changing, other = both.listener, here.connection
            old, new = identity(who), identity(who + "'")
            changing.identity = new
            here.write(b"goes on")
            assert await there.read() == b"goes on"
            assert other.peer.node_id == old.node_id, "nothing has proved the new one yet"
            another = await here.connection.open_stream()
            another.write(b"?")
            assert await (await there.connection.accept_stream()).read() == b"?"
            assert other.peer.node_id == new.node_id
            assert other.peer.chain == new.chain
            keeper = both.listener if who == "dialer" else both.dialer
            assert keeper.connection(new.node_id) is keeper.connection(old.node_id) is other
            there.write(b"still there")
            assert await here.read() == b"still there"

        between_hosts(program)

    def test_the_new_id_is_reached_at_the_address_of_an_old_connection(self) -> None:
        """The dialer has heard of the new id elsewhere, and has not seen it proved yet."""

        async def program(both: Hosts) -> None:
            address = both.endpoints[1].addresses[0]
            here, there = await both.streams()
            both.listener.identity = NEW
            found = await both.dialer.connect(NEW.node_id, address)
            assert found is here.connection
            assert found.peer.node_id == NEW.node_id
            there.write(b"undisturbed")
            assert await here.read() == b"undisturbed"

        between_hosts(program)

    def test_the_new_id_is_reached_over_a_connection_that_has_had_no_stream(self) -> None:
        async def program(both: Hosts) -> None:
            address = both.endpoints[1].addresses[0]
            connection = await both.connect()
            await both.listener.accept()
            both.listener.identity = NEW
            found = await both.dialer.connect(NEW.node_id, address)
            assert found is connection
            assert found.peer.node_id == NEW.node_id

        between_hosts(program)

    def test_a_renewed_certificate_is_shown_too(self) -> None:
        async def program(both: Hosts) -> None:
            aged = Identity.generate(datetime.now(UTC) - timedelta(days=300))
            both.listener.identity = aged
            here = await both.dialer.connect(aged.node_id, both.endpoints[1].addresses[0])
            stream = await here.open_stream()
            stream.write(b"!")
            both.listener.identity = aged.renewed()
            async with echoing(both.listener):
                await works(here)
            assert here.peer.node_id == aged.node_id
            assert here.peer.chain == both.listener.identity.chain != aged.chain

        between_hosts(program)

    def test_a_rotation_during_the_handshake_does_no_harm(self) -> None:
        async def program(both: Hosts) -> None:
            async with echoing(both.listener):
                for moment in range(12):
                    dialling = asyncio.create_task(both.connect())
                    await asyncio.sleep(moment * 0.005)
                    both.dialer.identity = both.dialer.identity.rotate()
                    both.listener.identity = both.listener.identity.rotate()
                    connection = await dialling
                    await works(connection)
                    [inbound] = both.listener.connections
                    assert connection.peer.node_id == both.listener.identity.node_id
                    assert inbound.peer.node_id == both.dialer.identity.node_id
                    await connection.aclose()
                    await inbound.aclose()

        between_hosts(program)


PATIENT = LinkSettings(path_timeout=1000.0, loss_timeout=1000.0)
"""For what outlasts the usual notice of a loss."""


class Place:
    """An address at which one node after another runs, and a host that talks to it."""

    def __init__(self) -> None:
        self.net = FakeNet()
        self.here = self.net.endpoint()
        self.host = Host(self.here, identity("dialer"), [transport()], link_settings=PATIENT)
        self.endpoint = self.net.endpoint()
        self.address: SocketAddress = self.endpoint.addresses[0]

    def start(self, who: Identity) -> Host:
        return Host(self.endpoint, who, [transport()])

    async def kill(self, host: Host) -> None:
        """Without a word to anybody, as `kill -9` does."""
        self.endpoint.close()
        host.endpoint_failed(OSError("killed"))
        await host.aclose()
        self.endpoint = self.net.endpoint(self.address)


@asynccontextmanager
async def place() -> AsyncIterator[Place]:
    made = Place()
    async with echoing(made.host):
        yield made
    made.here.close()
    made.endpoint.close()


class TestAnotherNodeAtTheAddress:
    @pytest.mark.parametrize("busy", [False, True])
    def test_it_is_reached_once_the_old_one_is_silent(self, busy: bool) -> None:
        async def program() -> None:
            async with place() as at:
                first = at.start(identity("first"))
                async with echoing(first):
                    old = await at.host.connect(identity("first").node_id, at.address)
                    await works(old)
                    stream = await old.open_stream() if busy else None
                    await asyncio.sleep(0.2)
                    await at.kill(first)
                second = at.start(identity("second"))
                async with echoing(second):
                    wanted = identity("second").node_id
                    with pytest.raises(IdentityError):
                        await at.host.connect(wanted, at.address)
                    assert not old.closed, "too soon: the first may be there"
                    await asyncio.sleep(3)
                    async with asyncio.timeout(2):
                        new = await at.host.connect(wanted, at.address)
                        assert new.peer.node_id == wanted
                        await works(new)
                    assert isinstance(old.error, PeerReplaced)
                    assert stream is None or isinstance(stream.error, PeerReplaced)
                    assert at.host.connection(identity("first").node_id) is None

        run(program())

    def test_it_reaches_us_once_the_old_one_is_silent(self) -> None:
        async def program() -> None:
            async with place() as at:
                first = at.start(identity("first"))
                ours = at.host.identity.node_id
                async with echoing(first):
                    await works(await first.connect(ours, at.here.addresses[0]))
                    await at.kill(first)
                await asyncio.sleep(4)
                second = at.start(identity("second"))
                async with echoing(second), asyncio.timeout(5):
                    connection = await second.connect(ours, at.here.addresses[0])
                    with pytest.raises(KeynetError):
                        await works(connection)  # it was this stream that proved it
                    await works(connection)
                    found = at.host.connection(identity("second").node_id)
                    assert found is not None
                    assert at.host.connections == (found,)

        run(program())

    def test_asking_for_a_wrong_id_harms_nobody(self) -> None:
        async def program() -> None:
            async with place() as at, echoing(at.start(identity("first"))):
                connection = await at.host.connect(identity("first").node_id, at.address)
                stream = await connection.open_stream()
                stream.write(b"one")
                assert await stream.read() == b"one"
                for wait in (0, 5):
                    await asyncio.sleep(wait)
                    with pytest.raises(UnclaimedNodeId):
                        await at.host.connect(identity("nobody").node_id, at.address)
                stream.write(b"two")
                assert await stream.read() == b"two"

        run(program())

    def test_a_stranger_who_proves_nothing_ends_nothing(self) -> None:
        async def program() -> None:
            async with place() as at, echoing(at.start(identity("first"))):
                connection = await at.host.connect(identity("first").node_id, at.address)
                stream = await connection.open_stream()
                stream.write(b"one")
                assert await stream.read() == b"one"
                await asyncio.sleep(10)
                for number in range(2, 600, 2):
                    syn = encode(PacketType.SYN, number, 0, 0, 1 << 20, 1, 0)
                    at.here.inject([syn], at.address)
                await asyncio.sleep(20)
                stream.write(b"two")
                assert await stream.read() == b"two"
                await works(connection)

        run(program())

    def test_a_key_that_was_given_up_does_not_pass_on_a_connection_that_knows_better(self) -> None:
        """Whoever has stolen it answers at the address, on the path perhaps."""

        async def program() -> None:
            async with place() as at:
                first = at.start(NEW)
                async with echoing(first):
                    connection = await at.host.connect(OLD.node_id, at.address)
                    await works(connection)
                    await at.kill(first)
                thief = at.start(OLD)
                async with echoing(thief):
                    await asyncio.sleep(OUTDATED_FOR)
                    with pytest.raises(ClosedError):  # replaced, if it was not given up before
                        await connection.open_stream()
                    assert connection.peer.node_id == NEW.node_id
                    with pytest.raises(UnclaimedNodeId):
                        await at.host.connect(NEW.node_id, at.address)

        run(program())
