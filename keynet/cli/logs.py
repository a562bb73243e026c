"""Logging for the command line: to standard error, as lines for people or as JSON objects.

What exceptions say may come from peers: it is bounded, and none of it reaches a terminal as a
command.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

MOST = 20_000
"""Characters of one record's message, or of its exception."""


class JsonLines(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _shown(record.getMessage()),
        }
        if record.exc_info:
            entry["exception"] = _shown(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False)


class Lines(logging.Formatter):
    """A line for people a record, and an exception's lines below it."""

    def format(self, record: logging.LogRecord) -> str:
        return _shown(super().format(record))


def set_up_logging(level: str, *, as_json: bool) -> None:
    """Log what is at least `level` (debug, info, warning, error) to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonLines()
        if as_json
        else Lines("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _shown(text: str) -> str:
    if len(text) > MOST:  # how an exception ended is said last
        text = f"{text[: MOST // 2]} … {text[-MOST // 2 :]}"
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
