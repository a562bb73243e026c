"""Host addresses: what the interfaces have, and of that what others can use."""

from __future__ import annotations

from keynet.address import SocketAddress
from keynet.discovery.interfaces import MAX_ADDRESSES, host_addresses, interface_addresses

FOUND = ["127.0.0.1", "192.0.2.2", "169.254.3.4", "::1", "fe80::1", "2001:db8::2", "fd00::2"]


def test_a_wildcard_stands_for_every_address_of_its_family():
    addresses = host_addresses([SocketAddress("0.0.0.0", 4000), SocketAddress("::", 5000)], FOUND)
    assert set(addresses) == {
        SocketAddress("192.0.2.2", 4000),
        SocketAddress("2001:db8::2", 5000),
        SocketAddress("fd00::2", 5000),
    }


def test_what_is_bound_outright_is_itself():
    bound = [SocketAddress("127.0.0.1", 4000), SocketAddress("2001:db8::9", 1)]
    assert host_addresses(bound, FOUND) == tuple(bound)


def test_there_are_only_so_many():
    many = [f"10.0.{n >> 8}.{n & 255}" for n in range(1, 1000)]
    assert len(host_addresses([SocketAddress("0.0.0.0", 1)], many)) == MAX_ADDRESSES


def test_this_machine_has_a_loopback_interface():
    assert "127.0.0.1" in interface_addresses()
