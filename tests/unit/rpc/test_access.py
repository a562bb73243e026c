"""Who may call what."""

from __future__ import annotations

import pytest

from keynet.address import NodeId
from keynet.errors import ConfigError
from keynet.rpc.access import AllowCalls, CallAccess

ALICE, BOB, OLD_BOB = (NodeId(bytes([n]) * 32) for n in range(3))
HELLO, BYE, HELLO_V2 = "greeter.hello", "greeter.bye", "greeter.v2.hello"


def allow(node_id: NodeId, *patterns: str) -> AllowCalls:
    return AllowCalls(node_id, frozenset(patterns))


def test_nobody_may_call_anything_until_told() -> None:
    access = CallAccess()
    assert not access.knows([ALICE])
    assert not access.permits([ALICE], HELLO)
    assert not access.is_owner([ALICE])
    assert list(access) == []


@pytest.mark.parametrize(
    ("pattern", "permitted"),
    [
        ("greeter", (True, True, False)),
        ("greeter.*", (True, True, False)),
        ("greeter.hello", (True, False, False)),
        ("greeter.v2", (False, False, True)),
        ("greeter.v2.*", (False, False, True)),
        ("greeter.v2.hello", (False, False, True)),
        ("greet", (False, False, False)),
        ("*", (False, False, False)),
        ("", (False, False, False)),
    ],
)
def test_patterns_name_services_and_methods(pattern: str, permitted: tuple[bool, ...]) -> None:
    access = CallAccess([allow(ALICE, pattern)])
    assert tuple(access.permits([ALICE], m) for m in (HELLO, BYE, HELLO_V2)) == permitted
    assert access.knows([ALICE])
    assert not access.permits([BOB], HELLO)
    assert not access.knows([BOB])


def test_no_patterns_mean_everything_also_besides_others() -> None:
    for rules in (
        [AllowCalls(ALICE, None), allow(ALICE, "x")],
        [allow(ALICE, "x"), AllowCalls(ALICE, None)],
    ):
        access = CallAccess(rules)
        assert access.permits([ALICE], HELLO_V2)
        assert list(access) == [AllowCalls(ALICE, None)]


def test_rules_add_up() -> None:
    access = CallAccess([allow(ALICE, "greeter.hello")])
    access.allow(allow(ALICE, "greeter.bye"))
    assert access.permits([ALICE], HELLO)
    assert access.permits([ALICE], BYE)
    assert list(access) == [allow(ALICE, "greeter.hello", "greeter.bye")]


def test_any_id_that_the_peer_has_proved_counts() -> None:
    access = CallAccess([allow(OLD_BOB, "greeter")])
    assert access.permits([BOB, OLD_BOB], HELLO)
    assert access.knows([BOB, OLD_BOB])
    assert not access.permits([BOB], HELLO)


def test_rules_of_several_ids_of_one_peer_add_up() -> None:
    access = CallAccess([allow(OLD_BOB, "greeter.hello"), allow(BOB, "greeter.bye")])
    assert access.permits([BOB, OLD_BOB], HELLO)
    assert access.permits([BOB, OLD_BOB], BYE)


def test_rules_are_taken_back() -> None:
    access = CallAccess([allow(ALICE, "greeter")])
    access.disallow(ALICE)
    assert not access.knows([ALICE])
    with pytest.raises(ConfigError, match="no rule"):
        access.disallow(ALICE)


def test_anyone_may_call_everything_when_told_so() -> None:
    access = CallAccess(anyone=True)
    assert access.knows([ALICE])
    assert access.permits([ALICE], HELLO)
    assert not access.is_owner([ALICE])


def test_the_owner_may_call_everything() -> None:
    access = CallAccess(owner=OLD_BOB)
    assert access.is_owner([BOB, OLD_BOB])
    assert access.knows([OLD_BOB])
    assert access.permits([OLD_BOB], HELLO)
    assert not access.permits([ALICE], HELLO)
