"""Taking STUN messages out of a batch of something else. Pure.

The kernel merges whatever one address sends in equal sizes, so a ping may stand inside a run of
another protocol, or end it as the shorter last datagram.
"""

from __future__ import annotations

from collections.abc import Sequence

from keynet.engine import Buffer, Datagrams
from keynet.stun import MAGIC_COOKIE, is_stun

_COOKIE_AT = 4
_FIRST_OF_COOKIE = MAGIC_COOKIE[0]


def may_hold_stun(datagrams: Datagrams) -> bool:
    """A cheap look at one byte of each datagram; False is certain."""
    data, stride = datagrams.data, datagrams.stride
    if len(data) <= stride:
        return len(data) > _COOKIE_AT and data[_COOKIE_AT] == _FIRST_OF_COOKIE
    return _FIRST_OF_COOKIE in bytes(data[_COOKIE_AT::stride])


def split(datagrams: Datagrams) -> tuple[Sequence[Datagrams], Sequence[Buffer]]:
    """The batch without its STUN messages, as runs in order, and the STUN messages in order.

    Nearly always that is the batch itself and nothing.
    """
    if not may_hold_stun(datagrams):
        return (datagrams,), ()
    return _separate(datagrams)


def _separate(datagrams: Datagrams) -> tuple[Sequence[Datagrams], Sequence[Buffer]]:
    runs: list[Datagrams] = []
    messages: list[Buffer] = []
    view, stride, start = memoryview(datagrams.data), datagrams.stride, 0
    for at in range(0, len(view), stride):
        one = view[at : at + stride]
        if is_stun(one):
            messages.append(one)
            if start < at:
                runs.append(Datagrams(view[start:at], stride))
            start = at + stride
    if not messages:
        return (datagrams,), ()
    if start < len(view):
        runs.append(Datagrams(view[start:], stride))
    return runs, messages
