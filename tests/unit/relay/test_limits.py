"""What a relay gives away, and whom it reaches."""

from __future__ import annotations

import pytest

from keynet.errors import ConfigError
from keynet.rates import MAX_KEYS, Rates
from keynet.relay.limits import RelayLimits, Usage
from keynet.relay.reach import Reach


class TestReach:
    @pytest.mark.parametrize(
        "host",
        [
            "0.0.0.0", "127.0.0.1", "10.0.0.1", "100.64.0.1", "169.254.169.254", "172.16.0.1",
            "192.168.1.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1",
            "fe80::1%eth0", "fc00::1", "fec0::1", "ff0e::1", "::ffff:10.0.0.1", "::ffff:8.8.8.8",
            "64:ff9b::a00:1", "64:ff9b:1::1", "64:ff9b::808:808", "2002:a00:1::1", "2001:db8::1",
        ],
    )  # fmt: skip
    def test_denies_what_is_not_the_internet(self, host: str) -> None:
        assert not Reach().permits(host)

    @pytest.mark.parametrize("host", ["8.8.8.8", "2620:fe::9", "2002:808:808::1"])
    def test_permits_the_internet(self, host: str) -> None:
        assert Reach().permits(host)

    def test_can_be_told_otherwise(self) -> None:
        reach = Reach(["10.0.0.0/8"], denied=["10.1.0.0/16", "8.0.0.0/8"])
        assert reach.permits("10.2.0.1")
        assert not reach.permits("10.1.0.1")
        assert not reach.permits("8.8.8.8")

    def test_networks_are_checked(self) -> None:
        with pytest.raises(ConfigError, match=r"10\.0\.0\.0/8"):
            Reach(["10.0.0.1/8"])


class TestUsage:
    @pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
    def test_limits_are_numbers_above_zero(self, value: float) -> None:
        with pytest.raises(ConfigError, match="bandwidth"):
            RelayLimits(bandwidth=value)

    def test_many_names_share_their_address(self) -> None:
        usage = Usage(RelayLimits(bandwidth_per_address=1000.0))
        passed = [usage.charge(f"node {n}", "1.2.3.4", 1 << 17, 0.0) for n in range(10)]
        assert passed.count(True) == 4
        assert usage.charge("node", "4.3.2.1", 1 << 17, 0.0)

    def test_all_share_what_there_is(self) -> None:
        usage = Usage(RelayLimits(bandwidth_in_all=1000.0))
        passed = [usage.charge(f"node {n}", f"1.2.3.{n}", 1 << 17, 0.0) for n in range(10)]
        assert passed.count(True) == 4

    def test_a_small_batch_does_not_pass_after_a_big_one_did_not(self) -> None:
        usage = Usage(RelayLimits(octets=1000, period=100.0))
        assert usage.charge("node", "1.2.3.4", 999, 0.0)
        assert usage.charge("node", "1.2.3.4", 2, 0.0) is None
        assert usage.charge("node", "1.2.3.4", 1, 0.0) is None
        assert not usage.admits("node", "1.2.3.4", 99.0)
        assert usage.admits("node", "1.2.3.4", 100.0)

    def test_allocations_that_end_make_room(self) -> None:
        usage = Usage(RelayLimits(allocations_per_node=1))
        usage.opened("node", "1.2.3.4")
        assert not usage.admits("node", "4.3.2.1", 0.0)
        usage.closed("node", "1.2.3.4")
        assert usage.admits("node", "4.3.2.1", 0.0)

    def test_what_is_remembered_is_bounded(self) -> None:
        usage = Usage(RelayLimits())
        for n in range(MAX_KEYS + 100):
            usage.charge(f"node {n}", f"host {n}", 1, float(n))
        assert len(usage._octets) == MAX_KEYS


def test_tokens_can_be_taken_several_at_once() -> None:
    rates: Rates[str] = Rates(10.0, 100.0)
    assert rates.take("key", 0.0, 95.0) == 0.0
    assert rates.take("key", 0.0, 10.0) == pytest.approx(0.5)
    assert rates.take("key", 0.5, 10.0) == 0.0
