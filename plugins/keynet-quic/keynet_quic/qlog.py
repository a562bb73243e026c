"""Traces of connections as qlog files, for qvis and its like: only when they are asked for.

A trace shows sizes, times and frame types, never keys or payload. It is written when the
connection ends, as DIRECTORY/<first connection id>-<role>.qlog.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from pathlib import Path
from typing import Any

from aioquic.quic.logger import QLOG_VERSION, QuicLogger, QuicLoggerTrace

from keynet.errors import ConfigError

MAX_EVENTS = 100_000
"""The latest events that a trace keeps, at about 500 bytes each."""

log = logging.getLogger(__name__)


class QlogDirectory(QuicLogger):
    """Where traces go; aioquic calls it."""

    def __init__(self, directory: str) -> None:
        """Raises ConfigError when `directory` is none."""
        super().__init__()
        self._directory = Path(directory)
        if not self._directory.is_dir():
            raise ConfigError(f"qlog={directory} is no directory: make it first")

    def start_trace(self, is_client: bool, odcid: bytes) -> QuicLoggerTrace:
        trace = QuicLoggerTrace(is_client=is_client, odcid=odcid)
        trace._events = deque(maxlen=MAX_EVENTS)  # aioquic's own grows without bound
        return trace

    def end_trace(self, trace: QuicLoggerTrace) -> None:
        """Write it. A full disk must not end the call that is traced."""
        content = trace.to_dict()
        name = f"{content['common_fields']['ODCID']}-{content['vantage_point']['type']}.qlog"
        qlog: dict[str, Any] = {
            "qlog_format": "JSON",
            "qlog_version": QLOG_VERSION,
            "traces": [content],
        }
        try:
            (self._directory / name).write_text(json.dumps(qlog), encoding="utf-8")
        except OSError as error:
            log.warning("cannot write the trace %s: %s", name, error)
