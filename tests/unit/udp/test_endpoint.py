"""Every shell's endpoint does what `keynet.udp.api` promises."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from typing import Any

import pytest

from keynet.address import SocketAddress
from keynet.engine import Datagrams
from keynet.errors import ConfigError
from keynet.udp.api import Sent
from keynet.udp.endpoint import bind
from keynet.udp.path import Path
from keynet.udp.sending import Sender

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a Linux socket option")


def numbered(count: int, stride: int, last: int | None = None) -> Datagrams:
    """A batch of recognisable random datagrams; the last of `last` bytes."""
    data = bytearray(os.urandom(count * stride))
    for index in range(count):
        data[index * stride : index * stride + 4] = index.to_bytes(4)
    if last is not None:
        del data[len(data) - stride + last :]
    return Datagrams(data, stride)


def another(recorder: Any) -> Any:
    return type(recorder)()


def contents(batch: Datagrams) -> list[bytes]:
    return [bytes(one) for one in batch]


@pytest.mark.parametrize(
    "batch",
    [
        numbered(1, 100),
        numbered(44, 1472),
        numbered(30, 1200, last=7),
        numbered(200, 64),
        numbered(150, 1000, last=999),
        numbered(1, 65000),
        numbered(5, 30000),
        numbered(3, 30000, last=1),
    ],
    ids=lambda batch: repr(batch),
)
async def test_a_batch_arrives_in_order_and_whole(open_endpoint, recorder, host, batch):
    here = await open_endpoint(host)
    there = await open_endpoint(host, receiver=recorder)
    assert here.send(batch, Path(there.addresses[0])) is Sent.OK
    await recorder.until(lambda: len(recorder.datagrams) == len(batch))
    assert recorder.datagrams == contents(batch)
    assert {path.remote for path in recorder.paths} == {here.addresses[0]}
    await recorder.until(lambda: bool(recorder.wakeups) and recorder.wakeups[-1] == len(batch))


async def test_one_endpoint_serves_both_families(open_endpoint, recorder):
    both = await open_endpoint("127.0.0.1", "::1", receiver=recorder)
    for address in both.addresses:
        alone = await open_endpoint(address.host)
        assert alone.send(numbered(1, 50), Path(address)) is Sent.OK
        other = another(recorder)
        alone.set_receiver(other)
        await recorder.until(lambda: len(recorder.paths) > 0)
        assert both.send(numbered(1, 60), recorder.paths.pop()) is Sent.OK
        await other.until(lambda got=other: len(got.datagrams) == 1)
        recorder.batches.clear()


async def test_interleaved_sources_and_sizes_keep_each_sources_order(open_endpoint, recorder, host):
    there = await open_endpoint(host, receiver=recorder)
    senders = [await open_endpoint(host) for _ in range(3)]
    sent: dict[SocketAddress, list[bytes]] = {one.addresses[0]: [] for one in senders}
    for index in range(60):
        sender = senders[index % 3 if index % 7 else 0]
        batch = numbered(1 + index % 4, 300 + 100 * (index % 3), last=100 if index % 2 else None)
        sender.send(batch, Path(there.addresses[0]))
        sent[sender.addresses[0]] += contents(batch)
    total = sum(map(len, sent.values()))
    await recorder.until(lambda: len(recorder.datagrams) == total)
    for source, expected in sent.items():
        got = [one for batch, path in recorder.batches if path.remote == source for one in batch]
        assert got == expected


async def test_fragmentation_is_allowed_for_marked_batches_only(open_endpoint, recorder, host):
    here = await open_endpoint(host)
    there = await open_endpoint(host, receiver=recorder)
    batch = numbered(3, 5000)
    batch.may_fragment = True
    assert here.send(batch, Path(there.addresses[0])) is Sent.OK
    await recorder.until(lambda: len(recorder.datagrams) == 3)
    assert recorder.datagrams == contents(batch)


async def test_what_no_datagram_can_carry_is_too_big(open_endpoint, recorder, host):
    here = await open_endpoint(host)
    there = await open_endpoint(host, receiver=recorder)
    path = Path(there.addresses[0])
    assert here.send(Datagrams(bytes(70000)), path) is Sent.TOO_BIG
    assert here.send(Datagrams(bytes(140000), 70000), path) is Sent.TOO_BIG
    assert here.send(numbered(1, 80), path) is Sent.OK
    await recorder.until(lambda: len(recorder.datagrams) == 1)


class Reluctant:
    """A socket that is full for a while after some system calls."""

    def __init__(self, sock: socket.socket, calls: int) -> None:
        self.sock = sock
        self.calls = calls

    def sendto(self, *arguments: Any) -> int:
        return self._take(self.sock.sendto, arguments)

    def sendmsg(self, *arguments: Any) -> int:
        return self._take(self.sock.sendmsg, arguments)

    def _take(self, call: Any, arguments: Any) -> int:
        if self.calls == 0:
            raise BlockingIOError(errno.EAGAIN, "full")
        self.calls -= 1
        return int(call(*arguments))


def make_reluctant(sender: Sender, calls: int) -> Reluctant:
    """Let only so many of the sender's system calls pass."""
    sender.socket = full = Reluctant(sender.socket, calls)
    if (burst := sender.burst) is not None:
        sender.burst = lambda *arguments: full._take(burst, arguments)
    return full


async def test_a_full_socket_blocks_and_says_when_it_has_room(open_endpoint, recorder):
    here = await open_endpoint("127.0.0.1", receiver=recorder)
    there = await open_endpoint("127.0.0.1", receiver=(arrived := another(recorder)))
    full = make_reluctant(here._ipv4._sender, 0)
    batch, path = numbered(10, 500), Path(there.addresses[0])
    assert here.send(batch, path) is Sent.BLOCKED
    full.calls = 1000
    await recorder.until(lambda: recorder.writable_calls == 1)
    assert here.send(batch, path) is Sent.OK
    await arrived.until(lambda: len(arrived.datagrams) == 10)
    assert arrived.datagrams == contents(batch)


async def test_a_batch_that_went_out_in_part_is_finished_without_a_repeat(open_endpoint, recorder):
    here = await open_endpoint("127.0.0.1", receiver=recorder)
    there = await open_endpoint("127.0.0.1", receiver=(arrived := another(recorder)))
    full = make_reluctant(here._ipv4._sender, 1)
    batch, path = numbered(150, 1000, last=10), Path(there.addresses[0])
    assert here.send(batch, path) is Sent.OK
    assert here.send(numbered(1, 99), path) is Sent.BLOCKED
    full.calls = 1000
    await recorder.until(lambda: recorder.writable_calls == 1)
    assert here.send(numbered(1, 99), path) is Sent.OK
    await arrived.until(lambda: len(arrived.datagrams) == 151)
    assert arrived.datagrams[:150] == contents(batch)


async def test_an_unreachable_destination_breaks_nothing(open_endpoint, recorder, host):
    here = await open_endpoint(host, receiver=recorder)
    gone = await open_endpoint(host)
    path = Path(gone.addresses[0])
    gone.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for _ in range(5):
        assert here.send(numbered(2, 100), path) in (Sent.OK, Sent.FAILED)
    there = await open_endpoint(host)
    there.send(numbered(1, 77), Path(here.addresses[0]))
    await recorder.until(lambda: len(recorder.datagrams) == 1)
    assert recorder.failures == []


@pytest.mark.parametrize(
    "path",
    [
        Path(SocketAddress("::1", 9)),
        Path(SocketAddress("fe80::1%nowhere", 9)),
        Path(SocketAddress("not an address", 9)),
        Path(SocketAddress("127.0.0.1", 70000)),
    ],
)
async def test_impossible_destinations_fail_without_raising(open_endpoint, path):
    here = await open_endpoint("127.0.0.1")
    assert here.send(numbered(1, 10), path) is Sent.FAILED


async def test_empty_datagrams_are_not_handed_over(open_endpoint, recorder):
    there = await open_endpoint("127.0.0.1", receiver=recorder)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        for payload in (b"", b"first", b"", b"second", b""):
            plain.sendto(payload, there.addresses[0])
        await recorder.until(lambda: len(recorder.datagrams) == 2)
    assert recorder.datagrams == [b"first", b"second"]


async def test_a_flood_leaves_the_loop_its_turns(open_endpoint, recorder):
    there = await open_endpoint("127.0.0.1", receiver=recorder)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        for index in range(1000):
            plain.sendto(bytes(10 + index % 2), there.addresses[0])
    await recorder.until(lambda: len(recorder.datagrams) == 1000)
    each = [b - a for a, b in zip([0, *recorder.wakeups], recorder.wakeups, strict=False)]
    assert max(each) <= 256


async def test_sources_without_end_fill_no_table(open_endpoint, recorder, monkeypatch):
    monkeypatch.setattr("keynet.udp.route._LIMIT", 4)
    there = await open_endpoint("127.0.0.1", receiver=recorder)
    for _ in range(12):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
            plain.sendto(b"spoofed", there.addresses[0])
            plain_port = plain.getsockname()[1]
        assert there.send(numbered(1, 20), Path(SocketAddress("127.0.0.1", plain_port)))
    await recorder.until(lambda: len(recorder.datagrams) == 12)
    assert len(there._ipv4._reader._paths) <= 4
    assert len(there._ipv4._routes) <= 4


async def test_closing_inside_the_callback_is_the_last_call(open_endpoint, recorder):
    there = await open_endpoint("127.0.0.1", receiver=recorder)
    here = await open_endpoint("127.0.0.1")
    for size in (100, 200, 300):
        here.send(numbered(2, size), Path(there.addresses[0]))
    recorder.on_batch = lambda datagrams, path: there.close()
    await recorder.until(lambda: bool(recorder.batches))
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(recorder.batches) == 1
    assert recorder.wakeups == []
    assert recorder.failures == []


async def test_closing_twice_is_harmless_and_sending_after_it_fails(open_endpoint, recorder):
    here = await open_endpoint("127.0.0.1", "::1", receiver=recorder)
    here.close()
    here.close()
    assert here.send(numbered(1, 10), Path(SocketAddress("127.0.0.1", 9))) is Sent.FAILED
    assert here.stats()["unroutable"] == 1


async def test_a_broken_socket_is_reported_once(open_endpoint, recorder, shell):
    there = await open_endpoint("127.0.0.1", receiver=recorder)
    reader = there._ipv4._reader
    fault = OSError(errno.EBADF, "gone")
    if shell == "portable":
        reader.connection_lost(fault)
        reader.connection_lost(fault)
    else:
        reader._fault(fault)
        reader._fault(fault)
    assert recorder.failures == [fault]


async def test_icmp_errors_in_a_receive_are_counted_only(open_endpoint, recorder, shell):
    there = await open_endpoint("127.0.0.1", receiver=recorder)
    reader = there._ipv4._reader
    report = reader.error_received if shell == "portable" else reader._fault
    for _ in range(500):
        report(ConnectionRefusedError(errno.ECONNREFUSED, "refused"))
    assert recorder.failures == []
    assert there.stats()["ipv4_receive_errors"] == 500


async def test_a_wildcard_socket_answers_from_the_address_that_was_asked(
    open_endpoint, recorder, shell
):
    if shell == "portable":
        pytest.skip("needs control messages")
    there = await open_endpoint("0.0.0.0", receiver=recorder)
    there_port = there.addresses[0].port
    here = await open_endpoint("127.0.0.1", receiver=(answers := another(recorder)))
    asked = SocketAddress("127.0.0.2", there_port)
    here.send(numbered(4, 400), Path(asked))
    await recorder.until(lambda: len(recorder.datagrams) == 4)
    (path,) = recorder.paths
    assert path == Path(here.addresses[0], "127.0.0.2")
    for batch in (numbered(1, 30), numbered(5, 300)):
        assert there.send(batch, path) is Sent.OK
    await answers.until(lambda: len(answers.datagrams) == 6)
    assert {path.remote for path in answers.paths} == {asked}
    lost = path._replace(local="203.0.113.1")
    assert there.send(numbered(1, 10), lost) is Sent.FAILED


async def test_a_wildcard_ipv6_socket_names_the_local_address(open_endpoint, recorder, shell):
    there = await open_endpoint("::", receiver=recorder)
    here = await open_endpoint("::1", receiver=(answers := another(recorder)))
    here.send(numbered(3, 300), Path(SocketAddress("::1", there.addresses[0].port)))
    await recorder.until(lambda: len(recorder.datagrams) == 3)
    (path,) = recorder.paths
    assert path.local == (None if shell == "portable" else "::1")
    assert there.send(numbered(3, 300), path) is Sent.OK
    await answers.until(lambda: len(answers.datagrams) == 3)


@on_linux
async def test_the_ceiling_is_what_the_interface_takes(open_endpoint):
    here = await open_endpoint("127.0.0.1")
    assert here.mtu_ceiling(Path(SocketAddress("127.0.0.1", 9))) == 65507
    assert here.mtu_ceiling(Path(SocketAddress("::1", 9))) == 65536 - 48


async def test_buffers_are_reported_and_make_the_budget(open_endpoint):
    here = await open_endpoint("127.0.0.1", "::1")
    stats = here.stats()
    assert 0 < here.budget.total < int(stats["ipv4_receive_buffer"])
    assert stats["ipv6_buffers_refused"] in (0, 1)


@pytest.mark.parametrize(
    "hosts", [(), ("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("127.0.0.1", "::1", "127.0.0.2")]
)
async def test_one_address_a_family(hosts):
    with pytest.raises(ConfigError):
        await bind([SocketAddress(host, 0) for host in hosts])


async def test_an_unknown_shell_is_named(shell):
    with pytest.raises(ConfigError, match="magic"):
        await bind([SocketAddress("127.0.0.1", 0)], shell="magic")


async def test_an_address_in_use_is_the_systems_error(open_endpoint, shell):
    first = await open_endpoint("127.0.0.1")
    with pytest.raises(OSError, match="in use"):
        await bind([SocketAddress("127.0.0.2", 0), first.addresses[0]][1:], shell=shell)


async def test_a_loop_without_readers_gets_the_portable_shell(monkeypatch, recorder):
    def refuse(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", refuse, raising=False)
    endpoint = await bind([SocketAddress("127.0.0.1", 0)])
    endpoint.set_receiver(recorder)
    endpoint.send(numbered(2, 200), Path(endpoint.addresses[0]))
    await recorder.until(lambda: len(recorder.datagrams) == 2)
    assert [len(batch) for batch, _ in recorder.batches] == [1, 1]
    endpoint.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_without_the_kernels_help_equal_datagrams_still_make_one_batch(recorder):
    endpoint = await bind([SocketAddress("127.0.0.1", 0)], shell="plain")
    batch = numbered(40, 1200, last=17)
    endpoint.send(batch, Path(endpoint.addresses[0]))
    endpoint.set_receiver(recorder)
    await recorder.until(lambda: len(recorder.datagrams) == 40)
    endpoint.close()
    assert len(recorder.batches) == 1
