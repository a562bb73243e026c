"""aioquic's private parts that keynet_quic uses, by name: a new version that lacks one fails here,
and not as a connection that stalls."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest
from aioquic import tls
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import Limit, QuicConnection
from aioquic.quic.logger import QuicLoggerTrace
from aioquic.quic.stream import QuicStream
from keynet_quic import transport
from keynet_quic.connection import PEER, Connection

from keynet.testing.pair import StaticLink
from keynet.testing.transport.scene import identity

USED = {
    "_close_event",
    "_close_pending",
    "_crypto_streams",
    "_handshake_complete",
    "_host_cids",
    "_local_max_data",
    "_local_max_stream_data_uni",
    "_local_max_streams_bidi",
    "_local_max_streams_uni",
    "_logger",
    "_loss",
    "_max_datagram_size",
    "_pacing_at",
    "_quic_logger",
    "_remote_max_streams_uni",
    "_spaces",
    "_state",
    "_streams",
}
OVERRIDDEN = {
    "_initialize",
    "_update_traffic_key",
    "_write_connection_limits",
    "_write_stream_limits",
}
CALLED = {"_on_max_stream_data_delivery", "_send_probe"}
OF_RECOVERY = {
    "_cc",
    "_logger",
    "_on_packets_lost",
    "_pacer",
    "_pto_count",
    "_quic_logger",
    "_rtt_initial",
    "_rtt_initialized",
    "_rtt_latest",
    "_rtt_min",
    "_rtt_smoothed",
    "_rtt_variance",
}


@pytest.fixture
def plain() -> QuicConnection:
    connection = QuicConnection(configuration=QuicConfiguration(alpn_protocols=["x"]))
    connection.connect(PEER, 100.0)
    return connection


def test_a_connection_has_what_is_used_of_it(plain: QuicConnection) -> None:
    assert USED - set(vars(plain)) == set()
    assert (OVERRIDDEN | CALLED) - set(vars(QuicConnection)) == set()
    assert OVERRIDDEN - set(vars(Connection)) == set()


def test_recovery_congestion_control_and_pacing_have_it_too(plain: QuicConnection) -> None:
    assert {name for name in OF_RECOVERY if not hasattr(plain._loss, name)} == set()
    assert "_max_datagram_size" in vars(plain._loss._cc)
    assert "_max_datagram_size" in vars(plain._loss._pacer)


def test_tls_can_ask_for_a_client_certificate(plain: QuicConnection) -> None:
    for name in ("_request_client_certificate", "_signature_algorithms"):
        assert name in vars(plain.tls)
    assert (plain.tls._peer_certificate, plain.tls._peer_certificate_chain) == (None, [])
    assert {direction.name for direction in tls.Direction} == {"DECRYPT", "ENCRYPT"}


def test_streams_limits_and_traces_have_it_too() -> None:
    stream = QuicStream(stream_id=0)
    assert {"_buffer_start", "_buffer_stop"} <= set(vars(stream.sender))
    assert {"value", "sent", "used"} <= set(vars(Limit(0x10, "max_data", 1)))
    assert "_events" in vars(QuicLoggerTrace(is_client=True, odcid=b""))


def test_the_range_of_versions_is_narrow_and_holds_the_one_installed() -> None:
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert '"aioquic>=1.7.2,<1.8"' in project
    assert importlib.metadata.version("aioquic").startswith("1.7.")


def test_credit_is_raised_by_the_offer_alone() -> None:
    engine = transport().connect(
        StaticLink(), identity("dialer"), identity("listener").node_id, 100.0
    )
    limit = engine._connection._local_max_data
    before = limit.value
    limit.value *= 2  # what aioquic does when half of it has been used
    assert limit.value == before
