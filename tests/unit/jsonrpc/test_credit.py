"""Credit, and what a session may hold unread."""

from __future__ import annotations

import pytest

from keynet.errors import ConfigError
from keynet.rpc.jsonrpc import Settings
from keynet.rpc.jsonrpc.credit import MOST_CREDIT, ReceiveWindow, SendCredit, Unread
from keynet.rpc.status import Status


def test_a_sender_may_go_below_zero_by_one_item() -> None:
    credit = SendCredit(10)
    assert credit.open
    credit.spend(25)
    assert not credit.open
    credit.grant(15)
    assert not credit.open
    credit.grant(1)
    assert credit.open


def test_credit_has_an_end() -> None:
    credit = SendCredit()
    for _ in range(3):
        credit.grant(MOST_CREDIT)
    assert credit.left == MOST_CREDIT


def test_grants_when_half_is_used_and_only_of_what_was_taken() -> None:
    window = ReceiveWindow(Unread(1000), 100, 100)
    assert window.arrive(49) is None
    assert window.take(49) == 0
    assert window.arrive(40) is None
    assert window.take(40) == 89
    assert window.left == 100
    assert window.arrive(60) is None
    assert window.arrive(60) is None
    assert window.take(60) == 60
    assert window.left + window.waiting == 100


def test_an_item_larger_than_the_window_does_not_stop_the_stream() -> None:
    window = ReceiveWindow(Unread(10_000), 100, 100)
    assert window.arrive(5000) is None
    assert window.take(5000) == 5000
    assert window.left == 100


def test_refuses_an_item_without_credit() -> None:
    window = ReceiveWindow(Unread(1000), 100, 10)
    assert window.arrive(10) is None
    refusal = window.arrive(1)
    assert refusal is not None
    assert refusal.status == Status.RESOURCE_EXHAUSTED
    assert window.waiting == 10


def test_a_session_holds_so_much_and_gets_it_back() -> None:
    unread = Unread(100)
    first, second = ReceiveWindow(unread, 80, 80), ReceiveWindow(unread, 80, 80)
    assert first.arrive(70) is None
    assert second.arrive(40) is not None
    first.release()
    first.release()
    assert unread.size == 0
    assert second.arrive(40) is None
    second.take(40)
    assert unread.size == 0


@pytest.mark.parametrize(
    "wrong", [{"window": 1}, {"window": 1 << 40}, {"unread": 0}, {"max_calls": 0}]
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        Settings(**wrong)
