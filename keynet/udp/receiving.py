"""What both receiving halves share: counters, and telling a broken socket from a bad datagram."""

from __future__ import annotations

import errno
from typing import Protocol

from keynet.udp.api import Receiver

_BROKEN = frozenset({errno.EBADF, errno.ENOTSOCK, errno.ENOTCONN})
_FAULTS_IN_A_ROW = 1000
"""Receive errors without one datagram between them, after which a socket counts as broken."""


class Received:
    """Counters of one socket's receiving half."""

    def __init__(self) -> None:
        self.wakeups = self.receives = self.batches = self.octets = 0
        self.unusable = 0
        """Empty or truncated datagrams, and those that came before there was a receiver."""
        self.faults = 0
        """Errors that a receive reported, mostly ICMP about something sent earlier."""
        self._faults_in_a_row = self._receives_then = 0

    def is_broken(self, error: OSError) -> bool:
        """Count a receive's error; whether the socket itself is broken."""
        if self.receives != self._receives_then:
            self._receives_then, self._faults_in_a_row = self.receives, 0
        self.faults += 1
        self._faults_in_a_row += 1
        return error.errno in _BROKEN or self._faults_in_a_row > _FAULTS_IN_A_ROW


class Reader(Protocol):
    """The receiving half of one socket."""

    received: Received

    def start(self, receiver: Receiver) -> None:
        """Hand datagrams to `receiver` from now on."""

    def await_writable(self) -> None:
        """Call the endpoint's `on_writable` once the socket has room."""

    def close(self) -> None:
        """Stop, and close the socket; idempotent."""
