"""Where tasks wait for a session: woken once, cancelled at any moment, without losing anything."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import Raw

from keynet.errors import LocalProtocolError
from keynet.rpc.jsonrpc.credit import SendCredit
from keynet.rpc.jsonrpc.inbound import TURN_LINES, Inbound
from keynet.rpc.jsonrpc.waiting import Gate, Inbox, Waiter
from keynet.rpc.status import Status, rpc_error
from keynet.testing.clock import run


class Flood:
    """A stream that always has more."""

    async def read(self) -> bytes:
        return b"x" * 65_536


def test_a_stream_that_always_has_more_lets_others_run() -> None:
    async def program() -> None:
        inbound = Inbound(Flood())  # type: ignore[arg-type]
        others = 0

        async def other() -> None:
            nonlocal others
            while True:
                others += 1
                await asyncio.sleep(0)

        running = asyncio.create_task(other())
        for _ in range(20):
            await inbound.read()
        assert others == 4
        running.cancel()

    run(program())


def test_one_task_waits_at_a_time() -> None:
    async def program() -> None:
        waiter = Waiter()
        first = asyncio.create_task(waiter.wait())
        await asyncio.sleep(0)
        with pytest.raises(LocalProtocolError):
            await waiter.wait()
        waiter.wake()
        waiter.wake()
        await first

    run(program())


def test_who_comes_after_a_cancellation_is_woken_all_the_same() -> None:
    async def program() -> None:
        waiter = Waiter()
        first = asyncio.create_task(waiter.wait())
        await asyncio.sleep(0)
        first.cancel()
        asyncio.get_running_loop().call_later(1, waiter.wake)
        await waiter.wait()  # begins before the first has noticed

    run(program())


def test_an_inbox_gives_every_item_and_then_its_end() -> None:
    async def program() -> None:
        taken: list[int] = []
        inbox = Inbox(taken.append)
        waiting = asyncio.create_task(inbox.get())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        inbox.put(Raw(b"1"), 10)
        inbox.put(Raw(b"2"), 20)
        inbox.end(rpc_error(Status.ABORTED, "why"))
        inbox.end()
        assert [bytes(await inbox.get()), bytes(await inbox.get())] == [b"1", b"2"]
        for _ in range(2):
            with pytest.raises(Exception, match="why"):
                await inbox.get()
        assert taken == [10, 20]

    run(program())


def test_a_gate_opens_with_credit_and_for_good_at_the_end() -> None:
    async def program() -> None:
        credit = SendCredit(0)
        gate = Gate(credit)
        waiting = asyncio.create_task(gate.passed())
        gate.credit_came()
        await asyncio.sleep(1)
        assert not waiting.done()
        credit.grant(1)
        gate.credit_came()
        await waiting
        credit.spend(1)
        waiting = asyncio.create_task(gate.passed())
        await asyncio.sleep(1)
        gate.lift()
        await waiting

    run(program())


def test_tiny_lines_are_given_a_few_at_a_time_with_turns_for_others_between() -> None:
    class Once:
        def __init__(self) -> None:
            self.data = [b"", b"rest", b"\n" * 1000 + b"half"]

        async def read(self) -> bytes:
            return self.data.pop()

    async def program() -> None:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(others())
        inbound = Inbound(Once(), b"first\n")  # type: ignore[arg-type]
        pieces = []
        while piece := await inbound.read():
            pieces.append(piece)
        assert b"".join(pieces) == b"first\n" + b"\n" * 1000 + b"halfrest"
        assert max(piece.count(b"\n") for piece in pieces) == TURN_LINES
        assert turns >= 1000 // TURN_LINES
        other.cancel()

    run(program())
