"""Asking the running node: what the CLI uses. Blocking, one request a call."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from keynet.control.place import Place, find, not_ours, not_running
from keynet.control.protocol import MAX_LINE, VERSION, Request, encode, read_answer
from keynet.errors import ConnectError, DeadlineExceeded

TIMEOUT = 10.0
"""Seconds for the whole exchange."""


def call(state: Path, verb: str, timeout: float = TIMEOUT, **params: Any) -> Any:
    """What the node that runs with `state` answers to `verb`.

    Raises ConnectError when none is running, DeadlineExceeded when it does not answer within
    `timeout` seconds, ConfigError when it refuses the request, KeynetError when it fails.
    """
    place = find(state)
    request = encode(Request(VERSION, verb, params, place.token))
    try:
        with _connected(place, timeout) as connection:
            connection.sendall(request)
            with connection.makefile("rb") as file:
                line = file.readline(MAX_LINE)
    except TimeoutError as error:
        raise DeadlineExceeded(f"the node did not answer within {timeout:g} s") from error
    except PermissionError as error:
        raise not_ours(state) from error
    except OSError as error:
        raise not_running(state) from error
    if not line.endswith(b"\n"):
        raise ConnectError("the node broke off its answer: is it shutting down?")
    return read_answer(line)


def _connected(place: Place, timeout: float) -> socket.socket:
    if place.tcp is not None:
        return socket.create_connection(("127.0.0.1", place.tcp.port), timeout)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout)
        connection.connect(str(place.path))
    except BaseException:
        connection.close()
        raise
    return connection
