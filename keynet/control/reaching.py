"""Verbs that tell how peers are reached: `ping` and `why`; and that part of the status."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from keynet.address import NodeId, SocketAddress
from keynet.control.server import Verb
from keynet.errors import ConfigError, KeynetError, RpcError
from keynet.rpc.status import printable
from keynet.signalling.advice import Situation, advice

if TYPE_CHECKING:
    from keynet.config import StaticPeer
    from keynet.node import Node
    from keynet.node.meeting import Attempt
    from keynet.signalling.link import Link
    from keynet.signalling.membership import Membership
    from keynet.signalling.path_state import PathState
    from keynet.signalling.puncher import Outcome

PATIENCE = 5.0
"""Seconds that a pong, or the answer to a call, is waited for."""
BINDING = "jsonrpc"
"""Every node speaks it, whatever else it runs."""
MAX_LINKS = 1000
"""Links told of one by one: the answer must fit into a line."""


def reaching(node: Node) -> dict[str, Verb]:
    """The verbs by their names."""

    async def ping(params: Mapping[str, Any]) -> Any:
        return await _ping(node, _peer(params))

    async def why(params: Mapping[str, Any]) -> Any:
        node_id = _peer(params)
        if params.get("try") and node.signalling.meeting.why(node_id) is None:
            await _try(node, node_id)
        return _why(node, node_id)

    return {"ping": ping, "why": why}


def describe_reaching(node: Node) -> dict[str, Any]:
    """Seeds, links, candidates and what was counted, as JSON types."""
    signalling = node.signalling
    links = list(node.host.links)
    return {
        "seeds": _seeds(node),
        "mapping": _mapping(node),
        "candidates": [
            {"kind": one.kind.value, "address": str(one.address)}
            for one in signalling.meeting.candidates()
        ],
        "links": [_link(one, _now()) for one in links[:MAX_LINKS]],
        "link_count": len(links),
        "signalling": _counted(node),
    }


def _peer(params: Mapping[str, Any]) -> NodeId:
    return NodeId.parse(str(params.get("node_id")))


def _now() -> float:
    return asyncio.get_running_loop().time()


# Ping


async def _ping(node: Node, node_id: NodeId) -> dict[str, Any]:
    """Connect if need be, and measure: the link's round trip, and a call's.

    Raises what the dial raises.
    """
    began_at = _now()
    opened = node.host.connection(node_id) is None
    peer = (await node.connect(node_id)).peer.node_id
    took = _now() - began_at
    link = node.host.links.get(peer)
    state = await _in_time(node, peer)
    called, error = await _called(node, peer)
    path = state.path if state is not None else (link.path if link is not None else None)
    return {
        "peer": str(peer),
        "remote": str(path.remote) if path is not None else None,
        "relayed": False,
        "opened_ms": _ms(took) if opened else None,
        "punched": opened and link is not None and _was_punched(link, began_at),
        "link_ms": _ms(state.last_rtt) if state is not None else None,
        "rpc_ms": _ms(called),
        "rpc_error": error,
    }


async def _in_time(node: Node, peer: NodeId) -> PathState | None:
    try:
        async with asyncio.timeout(PATIENCE):
            return await node.host.links.ping(peer)
    except TimeoutError:
        return None


async def _called(node: Node, peer: NodeId) -> tuple[float | None, str | None]:
    """The round trip of a call in seconds, or why there was none."""
    began_at = _now()
    try:
        await node.client(peer, BINDING).call("keynet.ping", timeout=PATIENCE)
    except RpcError as error:
        return None, printable(error.message)
    return _now() - began_at, None


def _was_punched(link: Link, began_at: float) -> bool:
    opened_at = link.puncher.opened_at if link.puncher is not None else None
    return opened_at is not None and opened_at >= began_at


def _ms(seconds: float | None) -> float | None:
    return round(seconds * 1000, 3) if seconds is not None else None


# Why


async def _try(node: Node, node_id: NodeId) -> None:
    """Reach for a peer of which nothing is known yet; what comes of it is remembered."""
    try:
        await node.connect(node_id)
    except ConfigError:  # its own id
        raise
    except KeynetError:
        return


def _why(node: Node, node_id: NodeId) -> dict[str, Any]:
    attempt = node.signalling.meeting.why(node_id)
    connection = node.host.connection(node_id)
    peer = connection.peer.node_id if connection is not None else node_id
    link = node.host.links.get(peer)
    trouble = node.network.why(node_id)
    return {
        "node_id": str(node_id),
        "connected": connection is not None,
        "trouble": printable(trouble) if trouble is not None else None,
        "link": _link(link, _now()) if link is not None else None,
        "attempt": _attempt(attempt, _now()) if attempt is not None else None,
        "seeds": _seeds(node),
        "mapping": _mapping(node),
        "advice": advice(_situation(node, node_id, link, attempt)),
    }


def _situation(
    node: Node, node_id: NodeId, link: Link | None, attempt: Attempt | None
) -> Situation:
    outcomes = attempt.outcomes if attempt is not None else ()
    ipv6 = bool(outcomes) and all(one.candidate.address.is_ipv6 for one in outcomes)
    return Situation(
        connected=node.host.connection(node_id) is not None,
        alarmed=link is not None and link.alarmed,
        tried=attempt is not None or node.network.why(node_id) is not None,
        unknown=attempt is not None and attempt.unknown,
        outcomes=outcomes,
        static=node_id in node.statics,
        seeds=node.signalling.memberships,
        mapping=node.signalling.mapping(ipv6=ipv6),
    )


def _attempt(attempt: Attempt, now: float) -> dict[str, Any]:
    return {
        "seconds_ago": round(now - attempt.at, 3),
        "result": printable(attempt.result),
        "addresses": [_outcome(one) for one in attempt.outcomes],
    }


def _outcome(one: Outcome) -> dict[str, Any]:
    return {
        "kind": one.candidate.kind.value,
        "address": str(one.candidate.address),
        "fate": one.fate.value,
        "pings": one.pings,
        "rtt_ms": _ms(one.rtt),
        "detail": one.detail or None,
    }


# Status


def _seeds(node: Node) -> list[dict[str, Any]]:
    standing = {one.seed: one for one in node.signalling.memberships}
    observed = node.signalling.observed
    return [
        _seed(one, standing.get(one.node_id), observed.get(one.node_id)) for one in node.config.seed
    ]


def _seed(
    seed: StaticPeer, standing: Membership | None, observed: SocketAddress | None
) -> dict[str, Any]:
    error = standing.error if standing is not None else None
    return {
        "seed": str(seed),
        "registered": standing is not None and standing.registered,
        "observed": str(observed) if observed is not None else None,
        "error": printable(error) if error is not None else None,
    }


def _mapping(node: Node) -> dict[str, str]:
    return {
        family: node.signalling.mapping(ipv6=family == "ipv6").value for family in ("ipv4", "ipv6")
    }


def _link(link: Link, now: float) -> dict[str, Any]:
    return {
        "peer": str(link.peer),
        "alarmed": link.alarmed,
        "silent_seconds": round(now - link.heard_at, 3),
        "open_seconds": round(now - link.opened_at, 3),
        "paths": [_path(state, now, in_use=state is link.in_use) for state in link.paths],
        "punching": link.puncher is not None and not link.puncher.finished,
        "counters": dict(link.counters),
    }


def _path(state: PathState, now: float, *, in_use: bool) -> dict[str, Any]:
    return {
        "remote": str(state.path.remote),
        "in_use": in_use,
        "relayed": False,
        "rtt_ms": _ms(state.rtt),
        "mtu": state.mtu,
        "silent_seconds": round(now - state.heard_at, 3),
        "observed": str(state.mapped) if state.mapped is not None else None,
    }


def _counted(node: Node) -> dict[str, Any]:
    """What was refused or dropped, and on a seed what was asked, by name."""
    signalling = node.signalling
    counted: dict[str, Any] = {
        "stun": dict(node.host.links.counters),
        "offers": dict(signalling.meeting.answering.counters),
    }
    if signalling.seed is not None:
        counted["seed"] = {"registered": len(signalling.seed), **signalling.seed.counters}
    if signalling.reflector is not None:
        counted["strangers"] = dict(signalling.reflector.counters)
    return counted
