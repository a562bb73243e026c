"""Traces, by option."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

import pytest
from keynet_quic import transport

from keynet import plugins
from keynet.errors import ConfigError
from keynet.testing.link import LinkModel
from keynet.testing.transport.scene import Scene
from keynet.testing.transport.streams import exchange
from keynet.transport.api import Transport


def test_both_ends_write_a_trace_when_the_connection_ends(tmp_path: Path) -> None:
    scene = Scene(functools.partial(transport, qlog=str(tmp_path))).connect()
    exchange(scene, 50_000)
    assert list(tmp_path.iterdir()) == []
    scene.dialer.close()
    scene.run(lambda: scene.dialer.terminated and scene.listener.terminated)
    ends = sorted(tmp_path.iterdir())
    assert [path.stem.partition("-")[2] for path in ends] == ["client", "server"]
    for path in ends:
        (trace,) = json.loads(path.read_text())["traces"]
        names = {event["name"] for event in trace["events"]}
        assert {"transport:packet_sent", "transport:packet_received"} <= names


def test_a_dial_that_fails_leaves_a_trace_too(tmp_path: Path) -> None:
    make = functools.partial(transport, qlog=str(tmp_path))
    scene = Scene(make, link=LinkModel(partitioned=True))
    scene.run(lambda: scene.dialer.terminated)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_directory_that_vanished_ends_no_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "traces"
    place.mkdir()
    scene = Scene(functools.partial(transport, qlog=str(place))).connect()
    shutil.rmtree(place)
    scene.dialer.close()
    scene.run(lambda: scene.dialer.terminated and scene.listener.terminated)
    assert "cannot write the trace" in caplog.text


def test_the_option_names_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no directory"):
        plugins.create("keynet.transport", "quic", Transport, qlog=str(tmp_path / "none"))
    made = plugins.create("keynet.transport", "quic", Transport, qlog=str(tmp_path))
    assert made.qlog is not None
