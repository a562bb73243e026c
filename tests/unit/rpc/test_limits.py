"""How much peers' calls may take."""

from __future__ import annotations

import pytest

from keynet.address import NodeId
from keynet.errors import ConfigError, RpcError
from keynet.rpc.limits import Limits, PublicRates, Slots
from keynet.rpc.method import Kind


def peer(number: int) -> NodeId:
    return NodeId(number.to_bytes(32, "big"))


def allowed(rates: PublicRates, node_id: NodeId, now: float) -> int:
    """How many calls of that peer pass at `now` until one is refused."""
    for passed in range(1000):
        try:
            rates.take(node_id, now)
        except RpcError:
            return passed
    raise AssertionError("no call is refused")


@pytest.mark.parametrize(
    "name",
    [
        *("max_message_size", "max_calls", "max_strangers_calls", "max_calls_per_peer"),
        *("public_burst", "public_rate", "max_unary_timeout", "max_stream_timeout"),
    ],
)
@pytest.mark.parametrize("value", [0, -1])
def test_limits_that_let_nothing_pass_are_mistakes(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=name):
        Limits(**{name: value})


class TestTimeouts:
    @pytest.mark.parametrize(
        ("asked", "given"), [(None, 15.0), (1.0, 1.0), (1e6, 900.0), (-1.0, -1.0)]
    )
    def test_of_unary_calls(self, asked: float | None, given: float) -> None:
        assert Limits().timeout(Kind.UNARY, asked) == given

    def test_of_unary_calls_without_a_maximum(self) -> None:
        assert Limits(max_unary_timeout=None).timeout(Kind.UNARY, 1e6) == 1e6

    def test_of_a_maximum_below_the_usual(self) -> None:
        assert Limits(max_unary_timeout=5.0).timeout(Kind.UNARY, None) == 5.0

    @pytest.mark.parametrize("kind", [Kind.SERVER_STREAM, Kind.CLIENT_STREAM, Kind.DUPLEX])
    def test_of_streams(self, kind: Kind) -> None:
        assert Limits().timeout(kind, None) is None
        assert Limits().timeout(kind, 1e6) == 1e6
        assert Limits(max_stream_timeout=5.0).timeout(kind, None) == 5.0
        assert Limits(max_stream_timeout=5.0).timeout(kind, 1.0) == 1.0


class TestSlots:
    def test_peers_without_calls_are_forgotten(self) -> None:
        slots = Slots(Limits(max_calls=10, max_calls_per_peer=2))
        for number in (1, 1, 2):
            slots.take(peer(number))
        assert (len(slots), slots.peers) == (3, 2)
        for number, left in ((1, 2), (1, 1), (2, 0)):
            slots.release(peer(number))
            assert slots.peers == left
        assert len(slots) == 0

    def test_who_is_refused_is_not_counted(self) -> None:
        slots = Slots(Limits(max_calls=2, max_calls_per_peer=1))
        slots.take(peer(1))
        with pytest.raises(RpcError, match="1 calls of one node"):
            slots.take(peer(1))
        slots.take(peer(2))
        with pytest.raises(RpcError, match="runs 2 calls"):
            slots.take(peer(3))
        assert (len(slots), slots.peers) == (2, 2)

    def test_strangers_leave_room_for_others(self) -> None:
        slots = Slots(Limits(max_calls=3, max_strangers_calls=2))
        for number in (1, 2):
            slots.take(peer(number), stranger=True)
        with pytest.raises(RpcError, match="runs 2 calls"):
            slots.take(peer(3), stranger=True)
        slots.take(peer(4))
        slots.release(peer(1), stranger=True)
        slots.take(peer(3), stranger=True)
        assert len(slots) == 3


class TestRates:
    def test_a_burst_then_the_rate(self) -> None:
        rates = PublicRates(Limits(public_rate=10.0, public_burst=5))
        assert allowed(rates, peer(1), 0.0) == 5
        assert allowed(rates, peer(1), 0.05) == 0
        assert allowed(rates, peer(1), 0.1) == 1
        assert allowed(rates, peer(1), 0.4) == 3
        assert allowed(rates, peer(1), 1000.0) == 5

    def test_asking_too_often_does_not_put_it_off(self) -> None:
        rates = PublicRates(Limits(public_rate=1.0, public_burst=1))
        rates.take(peer(1), 0.0)
        passed = sum(allowed(rates, peer(1), tick / 10) for tick in range(1, 101))
        assert passed == 10

    def test_who_waits_as_long_as_told_is_served(self) -> None:
        rates = PublicRates(Limits(public_rate=3.0, public_burst=1))
        rates.take(peer(1), 0.0)
        with pytest.raises(RpcError, match=r"try again in 0\.334 s"):
            rates.take(peer(1), 0.0)
        rates.take(peer(1), 0.334)

    def test_peers_do_not_share(self) -> None:
        rates = PublicRates(Limits(public_burst=2))
        assert allowed(rates, peer(1), 0.0) == 2
        assert allowed(rates, peer(2), 0.0) == 2
