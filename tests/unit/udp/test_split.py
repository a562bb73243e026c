"""Taking STUN out of a batch."""

from __future__ import annotations

import pytest

from keynet.engine import Datagrams
from keynet.udp.split import split


@pytest.mark.parametrize("data", [b"", b"ab", b"abcd"])
def test_a_datagram_shorter_than_its_batch_s_stride_is_no_stun(data: bytes) -> None:
    batch = Datagrams(data, 20)
    assert split(batch) == ((batch,), ())
