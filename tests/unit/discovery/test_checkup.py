"""A checkup over real sockets' sizes and simulated servers, and what its findings mean in words."""

from __future__ import annotations

from pathlib import Path as FilePath

import pytest

from keynet.address import SocketAddress
from keynet.discovery.advice import advice
from keynet.discovery.checkup import Checkup, SocketCheck, check_up
from keynet.discovery.nat_behaviour import Behaviour, Filtering
from keynet.discovery.reflector import Reflector, small_socket
from keynet.discovery.reflexive import Mapping
from keynet.engine import Datagrams
from keynet.errors import ConfigError
from keynet.stun.binding import Question, read
from keynet.udp.path import Path

SERVER = SocketAddress("203.0.113.1", 3478)
OUTSIDE = SocketAddress("198.51.100.1", 9)
FINE = SocketCheck(("192.168.1.2",), 1 << 24, 1 << 24, False)
FINE_IPV6 = SocketCheck(("2001:db8::2",), 1 << 24, 1 << 24, False)
BOTH = {4: FINE, 6: FINE_IPV6}


def seen(mapping: Mapping, filtering: Filtering, **others: object) -> Behaviour:
    facts = {"mtu": 1472, "tried": (1232, 1472), "hairpinning": True, **others}
    return Behaviour(SERVER, OUTSIDE, 0.02, OUTSIDE, mapping, filtering, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (seen(Mapping.NONE, Filtering.INDEPENDENT), "a good seed"),
        (seen(Mapping.NONE, Filtering.ADDRESS), "a firewall lets in only answers"),
        (seen(Mapping.NONE, Filtering.UNKNOWN), "whether a firewall filters is unknown"),
        (seen(Mapping.INDEPENDENT, Filtering.INDEPENDENT), "every peer is reached"),
        (seen(Mapping.INDEPENDENT, Filtering.ADDRESS_AND_PORT), "unless theirs is symmetric"),
        (seen(Mapping.DEPENDENT, Filtering.UNKNOWN), "NAT is symmetric"),
        (seen(Mapping.ADDRESS, Filtering.ADDRESS), "NAT is symmetric"),
        (seen(Mapping.ADDRESS_AND_PORT, Filtering.ADDRESS), "Forward a UDP port"),
        (seen(Mapping.UNKNOWN, Filtering.UNKNOWN), "runs with --alternate"),
        (seen(Mapping.INDEPENDENT, Filtering.ADDRESS, hairpinning=False), "those that it allows"),
        (seen(Mapping.INDEPENDENT, Filtering.ADDRESS, mtu=548), "Look for a tunnel"),
        (seen(Mapping.INDEPENDENT, Filtering.ADDRESS, mtu=1372), "find that out by themselves"),
        (seen(Mapping.INDEPENDENT, Filtering.ADDRESS, mtu=None), "padded questions"),
        (Behaviour(SERVER), "UDP is blocked"),
    ],
)
def test_each_finding_is_put_into_words(behaviour: Behaviour, said: str) -> None:
    lines = advice(Checkup(BOTH, {4: behaviour}))
    assert any(said in line for line in lines)
    assert all(line.startswith("IPv4: ") and line.endswith(".") for line in lines)


def test_nothing_is_said_of_what_is_as_it_should_be() -> None:
    fine = seen(Mapping.INDEPENDENT, Filtering.INDEPENDENT)
    assert len(advice(Checkup(BOTH, {4: fine, 6: fine}))) == 2


@pytest.mark.parametrize(
    ("sockets", "said"),
    [
        ({4: FINE}, "no IPv6 here"),
        ({4: FINE, 6: SocketCheck(("fd00::2",), 1, 1, False)}, "no IPv6 here"),
        ({4: SocketCheck((), 1, 1, False)}, "this machine is offline"),
        ({4: SocketCheck(("192.168.1.2",), 1, 1, True)}, "net.core.rmem_max"),
        (BOTH, "is unknown: name a seed"),
    ],
)
def test_what_the_machine_itself_shows(sockets: dict[int, SocketCheck], said: str) -> None:
    assert any(said in line for line in advice(Checkup(sockets, {})))


class Server:
    """A reflector on real sockets of this machine."""

    def __init__(self, reflector: Reflector) -> None:
        self.reflector = reflector

    def datagrams_received(self, datagrams: Datagrams, path: Path, now: float) -> None:
        for datagram in datagrams:
            question = read(datagram)
            if isinstance(question, Question):
                self.reflector.asked(question, path, now)

    def drained(self, now: float) -> None: ...


@pytest.mark.skipif(not FilePath("/proc/net").exists(), reason="127.0.0.2 is Linux's")
async def test_a_server_on_this_machine_is_reached_without_a_nat() -> None:
    endpoint = await small_socket(SocketAddress("127.0.0.1", 0))
    own = endpoint.addresses[0]
    reflector = Reflector(endpoint)
    endpoint.set_receiver(Server(reflector))  # type: ignore[arg-type]
    try:
        for port in range(own.port + 1, own.port + 20):
            try:
                await reflector.open(SocketAddress("127.0.0.2", port))
                break
            except ConfigError:
                continue
        found = (await check_up([own])).behaviour[4]
    finally:
        reflector.close()
        endpoint.close()
    assert found.mapping is Mapping.NONE
    assert found.filtering is Filtering.INDEPENDENT
    assert found.mtu is not None
