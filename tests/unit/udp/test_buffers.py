"""What the system refuses is reported, never hidden and never fatal."""

from __future__ import annotations

import errno
import logging
import socket
from typing import Any

import pytest

from keynet.udp import buffers


class StingySocket:
    """Gives no privileged sizes, and caps or refuses the plain ones."""

    def __init__(self, limit: int, refuse: bool) -> None:
        self.limit = limit
        self.refuse = refuse
        self.sizes: dict[int, int] = {socket.SO_RCVBUF: 1000, socket.SO_SNDBUF: 1000}

    def setsockopt(self, level: int, option: int, value: int) -> None:
        if option not in self.sizes:
            raise PermissionError(errno.EPERM, "not root")
        if value > self.limit and self.refuse:
            raise OSError(errno.ENOBUFS, "too much")
        self.sizes[option] = min(value, self.limit)

    def getsockopt(self, level: int, option: int) -> int:
        return self.sizes[option] * (2 if buffers.ON_LINUX else 1)


@pytest.mark.parametrize("refuse", [True, False])
def test_a_refusal_is_logged_and_read_back(refuse: bool, caplog: pytest.LogCaptureFixture) -> None:
    sock: Any = StingySocket(300_000, refuse)
    with caplog.at_level(logging.WARNING, "keynet.udp"):
        got = buffers.enlarge_buffers(sock, 1_000_000)
    assert got.refused
    assert 0 < got.payload < 300_000
    assert "rmem_max" in caplog.text


def test_a_granted_size_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    sock: Any = StingySocket(10_000_000, True)
    assert not buffers.enlarge_buffers(sock, 1_000_000).refused
    assert caplog.text == ""
