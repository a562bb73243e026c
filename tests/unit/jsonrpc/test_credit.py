"""Credit, and what a session gives out of it."""

from __future__ import annotations

import pytest

from keynet.errors import ConfigError
from keynet.rpc.jsonrpc import Settings
from keynet.rpc.jsonrpc.credit import INITIAL_CREDIT, MOST_CREDIT, Budget, ReceiveWindow, SendCredit
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


WHOLE = 2 * INITIAL_CREDIT


def test_grants_when_half_is_used_and_only_of_what_was_taken() -> None:
    window = ReceiveWindow(Budget(WHOLE), WHOLE)
    assert window.open_wide() == WHOLE
    assert window.arrive(WHOLE // 2 - 1) is None
    assert window.take(WHOLE // 2 - 1) == 0
    assert window.arrive(40) is None
    assert window.take(40) == WHOLE // 2 + 39
    assert window.left == WHOLE
    assert window.arrive(WHOLE - 60) is None
    assert window.arrive(100) is None
    assert window.take(WHOLE - 60) == WHOLE - 60
    assert window.left + window.waiting == WHOLE


def test_an_item_larger_than_the_window_does_not_stop_the_stream() -> None:
    window = ReceiveWindow(Budget(0), WHOLE)
    assert window.arrive(50 * WHOLE) is None
    assert window.take(50 * WHOLE) == 50 * WHOLE
    assert window.left == INITIAL_CREDIT


def test_refuses_an_item_without_credit() -> None:
    window = ReceiveWindow(Budget(0), WHOLE)
    assert window.arrive(INITIAL_CREDIT) is None
    refusal = window.arrive(1)
    assert refusal is not None
    assert refusal.status == Status.RESOURCE_EXHAUSTED
    assert window.waiting == INITIAL_CREDIT


def test_windows_are_widened_as_far_as_the_budget_goes_and_give_it_back() -> None:
    budget = Budget(INITIAL_CREDIT + 10)
    windows = [ReceiveWindow(budget, WHOLE) for _ in range(3)]
    assert [one.open_wide() for one in windows] == [WHOLE, INITIAL_CREDIT + 10, INITIAL_CREDIT]
    assert budget.lent == budget.limit
    windows[0].release()
    windows[0].release()
    assert budget.lent == 10
    assert windows[2].arrive(1) is None
    assert windows[2].take(1) == INITIAL_CREDIT + 1


def test_a_closed_window_keeps_its_share_until_what_waits_was_taken() -> None:
    budget = Budget(WHOLE)
    window = ReceiveWindow(budget, WHOLE)
    window.open_wide()
    assert window.arrive(WHOLE) is None
    window.close()
    assert window.take(WHOLE - 1) == 0
    assert budget.lent
    assert window.take(1) == 0
    assert not budget.lent


@pytest.mark.parametrize(
    "wrong", [{"window": 1}, {"window": 1 << 40}, {"budget": -1}, {"max_calls": 0}]
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        Settings(**wrong)
