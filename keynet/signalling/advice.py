"""Why a peer is not reached, and what to do about it, in words. Pure: from facts to sentences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from keynet.discovery.reflexive import Mapping
from keynet.signalling.candidate import CandidateKind
from keynet.signalling.membership import Membership
from keynet.signalling.puncher import Fate, Outcome


@dataclass(frozen=True, slots=True)
class Situation:
    """What one node knows of its way to one peer."""

    connected: bool
    alarmed: bool
    """The path in use misses a pong, or there is none."""
    tried: bool
    """Whether an attempt was made at all."""
    unknown: bool
    """Whether every seed that was asked says that the peer is not registered."""
    outcomes: Sequence[Outcome]
    """What became of the peer's addresses in the latest attempt."""
    static: bool
    """Whether an address of the peer was given by hand."""
    seeds: Sequence[Membership]
    mapping: Mapping
    """How this node's own NAT maps, as far as seeds have shown."""


def advice(of: Situation) -> list[str]:
    """What to do, the likeliest first; one line that nothing is wrong when nothing is."""
    if of.connected:
        if of.alarmed:
            return ["The peer has fallen silent: other paths are being tried."]
        return ["Nothing is wrong: the peer is connected."]
    lines = [*_of_seeds(of), *_of_addresses(of)]
    if not lines and not of.tried:
        lines.append("Nothing has been tried yet: keynet ping tries.")
    return lines


def is_symmetric(outcomes: Iterable[Outcome]) -> bool:
    """Whether a peer's addresses show that its NAT maps by destination: seeds see it behind one
    IP address, at several ports."""
    ports: dict[str, set[int]] = defaultdict(set)
    for one in outcomes:
        if one.candidate.kind is CandidateKind.REFLEXIVE and one.fate is not Fate.ANSWERED:
            ports[one.candidate.address.host].add(one.candidate.address.port)
    return any(len(seen) > 1 for seen in ports.values())


def _of_seeds(of: Situation) -> Iterator[str]:
    if not of.seeds and not of.static:
        yield (
            "No seed can be asked, and no address was given: start this node with --seed "
            "NODEID@HOST:PORT, or name the peer's address with keynet peer add."
        )
    elif of.seeds and not any(one.registered for one in of.seeds):
        yield (
            "No seed has registered this node: are their addresses right, and is UDP let out? "
            "keynet status tells what each says, keynet doctor examines the network."
        )
    elif of.unknown:
        yield (
            "The peer is not registered: is it running, and with a --seed that this node has, "
            "too? Its own keynet status shows its seeds."
        )


def _of_addresses(of: Situation) -> Iterator[str]:
    fates = {one.fate for one in of.outcomes}
    if not fates or of.unknown or Fate.ANSWERED in fates:
        return
    if fates == {Fate.WAITING}:
        yield "The attempt has just begun: ask again in a few seconds."
    elif Fate.TRIED in fates:
        yield from _of_silence(of)
    elif Fate.FAILED in fates:
        yield "The system has no way to send there: is this machine online (keynet doctor)?"
    else:
        yield (
            "Nothing could be tried: the peer tells only addresses that cannot be reached from "
            "here. If both are in one network, let each allow the other (keynet allow add): "
            "private addresses are told to allowed nodes alone."
        )


def _of_silence(of: Situation) -> Iterator[str]:
    ours, theirs = of.mapping.is_dependent, is_symmetric(of.outcomes)
    if ours and theirs:
        yield (
            "Both NATs are symmetric: no direct path can be had between them; that takes a "
            "relay, which is yet to come. Forwarding a UDP port to either node solves it, too."
        )
    elif ours or theirs:
        whose, other = ("This node's", "the peer's") if ours else ("The peer's", "this node's")
        yield (
            f"{whose} NAT is symmetric: no direct path can be had if {other} filters by port, as "
            "most do; that takes a relay, which is yet to come. Forwarding a UDP port to either "
            "node solves it, too."
        )
    else:
        yield (
            "Nothing came back from the peer's addresses: is it still running, and does a "
            "firewall on either side drop UDP? keynet doctor tells on each side."
        )
        if of.mapping is Mapping.UNKNOWN:
            yield (
                "How this node's NAT maps is unknown: with a second --seed it would show whether "
                "it is symmetric."
            )
