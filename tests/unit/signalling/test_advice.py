"""From what is known of a way to a peer to what should be done about it."""

from __future__ import annotations

import pytest

from keynet.address import NodeId, SocketAddress
from keynet.discovery.reflexive import Mapping
from keynet.signalling.advice import Situation, advice, is_symmetric
from keynet.signalling.candidate import CandidateKind, candidate
from keynet.signalling.membership import Membership
from keynet.signalling.puncher import Fate, Outcome

SEED = Membership(NodeId(bytes(32)), registered=True)
LOST_SEED = Membership(NodeId(bytes(32)), registered=False, error="no answer within 10 s")


def outcome(
    fate: Fate = Fate.TRIED,
    host: str = "198.51.100.1",
    port: int = 4,
    kind: CandidateKind = CandidateKind.REFLEXIVE,
) -> Outcome:
    return Outcome(candidate(kind, SocketAddress(host, port)), fate)


PUNCHABLE = (outcome(),)
SYMMETRIC = (outcome(port=4), outcome(port=5))


def of(**facts: object) -> list[str]:
    usual: dict[str, object] = {
        "connected": False,
        "alarmed": False,
        "tried": True,
        "unknown": False,
        "outcomes": (),
        "static": False,
        "seeds": (SEED,),
        "mapping": Mapping.INDEPENDENT,
    }
    return advice(Situation(**(usual | facts)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"connected": True}, "Nothing is wrong"),
        ({"connected": True, "alarmed": True}, "fallen silent"),
        ({"tried": False}, "keynet ping tries"),
        ({"seeds": ()}, "start this node with --seed"),
        ({"seeds": (LOST_SEED,)}, "No seed has registered this node"),
        ({"unknown": True}, "The peer is not registered"),
        ({"outcomes": (outcome(Fate.WAITING),)}, "just begun"),
        ({"outcomes": (outcome(Fate.FAILED),)}, "is this machine online"),
        ({"outcomes": (outcome(Fate.REFUSED),)}, "keynet allow add"),
        ({"outcomes": PUNCHABLE}, "does a firewall on either side drop UDP"),
        ({"outcomes": PUNCHABLE, "mapping": Mapping.UNKNOWN}, "with a second --seed"),
        ({"outcomes": PUNCHABLE, "mapping": Mapping.DEPENDENT}, "This node's NAT is symmetric"),
        ({"outcomes": SYMMETRIC}, "The peer's NAT is symmetric"),
        ({"outcomes": SYMMETRIC, "mapping": Mapping.DEPENDENT}, "Both NATs are symmetric"),
    ],
)
def test_the_likeliest_cause_is_named_with_what_to_do(facts: dict[str, object], said: str) -> None:
    assert any(said in line for line in of(**facts))


def test_with_an_address_given_by_hand_no_seed_is_asked_for() -> None:
    assert not any("--seed NODEID" in line for line in of(seeds=(), static=True, tried=False))


def test_an_address_that_answered_is_not_blamed() -> None:
    assert of(outcomes=(outcome(Fate.ANSWERED), outcome(port=5))) == []


def test_old_outcomes_are_not_told_of_a_peer_that_is_gone() -> None:
    (line,) = of(unknown=True, outcomes=SYMMETRIC)
    assert "not registered" in line


@pytest.mark.parametrize(
    ("outcomes", "symmetric"),
    [
        ((), False),
        (PUNCHABLE, False),
        (SYMMETRIC, True),
        ((outcome(), outcome(host="198.51.100.2", port=5)), False),
        ((outcome(), outcome(port=5, kind=CandidateKind.HOST)), False),
    ],
)
def test_one_address_at_several_ports_is_a_symmetric_nat(
    outcomes: tuple[Outcome, ...], symmetric: bool
) -> None:
    assert is_symmetric(outcomes) is symmetric
