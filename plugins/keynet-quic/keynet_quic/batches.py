"""Joining datagrams into what one system call sends (UDP_SEGMENT). Pure."""

from __future__ import annotations

from collections.abc import Sequence

from keynet.engine import Datagrams

MAX_SEGMENTS = 64
"""Datagrams in a batch, at most: what the kernel takes."""
MAX_BYTES = 65000


def joined(datagrams: Sequence[bytes], mtu: int) -> list[Datagrams]:
    """Batches in the same order: equal sizes go together, and a shorter one may end a batch.

    What is larger than `mtu` may be fragmented.
    """
    out: list[Datagrams] = []
    run: list[bytes] = []
    for datagram in datagrams:
        if run and not _extends(run, datagram):
            out.append(_batch(run, mtu))
            run = []
        run.append(datagram)
    if run:
        out.append(_batch(run, mtu))
    return out


def _extends(run: list[bytes], datagram: bytes) -> bool:
    stride = len(run[0])
    return (
        len(datagram) <= stride == len(run[-1])
        and len(run) < MAX_SEGMENTS
        and stride * (len(run) + 1) <= MAX_BYTES
    )


def _batch(run: list[bytes], mtu: int) -> Datagrams:
    stride = len(run[0])
    return Datagrams(b"".join(run), stride, may_fragment=stride > mtu)
