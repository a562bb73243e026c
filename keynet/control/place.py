"""Where the control socket of a state directory is: a Unix socket, or loopback TCP with a token.

TCP stands in where Unix sockets do not exist or the directory's name is too long for one. The
token is in a file of mode 0600, so that both forms let in the directory's owner only.
"""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

import msgspec

from keynet.address import Authority
from keynet.config.values import LocalAddress, UnixPath
from keynet.errors import ConfigError, ConnectError

SOCKET_FILE = "control.sock"
TCP_FILE = "control.json"
MAX_PATH = 103
"""Bytes that every platform's sockaddr_un holds."""
BACKLOG = 16


class TcpPlace(msgspec.Struct):
    """What stands in TCP_FILE."""

    port: int
    token: str


@dataclass(frozen=True, slots=True)
class Place:
    """A running node's control socket, as a client finds it."""

    path: Path | None
    tcp: TcpPlace | None

    @property
    def address(self) -> LocalAddress:
        """Where to connect to."""
        if self.tcp is not None:
            return Authority("127.0.0.1", self.tcp.port)
        return UnixPath(str(self.path))

    @property
    def token(self) -> str:
        return self.tcp.token if self.tcp else ""


def find(state: Path) -> Place:
    """The control socket of the node that runs with `state`; ConnectError when none does."""
    try:
        if (state / SOCKET_FILE).exists():
            return Place(state / SOCKET_FILE, None)
        tcp = msgspec.json.decode((state / TCP_FILE).read_bytes(), type=TcpPlace)
    except PermissionError as error:
        raise not_ours(state) from error
    except (OSError, msgspec.MsgspecError) as error:
        raise not_running(state) from error
    return Place(None, tcp)


def not_running(state: Path) -> ConnectError:
    return ConnectError(
        f"no node is running with the state directory {state}: start one with keynet run, "
        "or name its directory with --state"
    )


def not_ours(state: Path) -> ConnectError:
    return ConnectError(
        f"the state directory {state} is another user's: ask as that user, "
        "or name another directory with --state"
    )


def listen(state: Path, *, tcp: bool = False) -> tuple[socket.socket, Place]:
    """A listening socket and where clients find it. The caller holds the directory's lock.

    Raises ConfigError when something else is in its place.
    """
    remove(state)
    path = state / SOCKET_FILE
    if tcp or not hasattr(socket, "AF_UNIX") or len(os.fsencode(path)) > MAX_PATH:
        return _listen_tcp(state)
    server = socket.socket(socket.AF_UNIX)
    try:
        server.bind(str(path))
        path.chmod(0o600)  # before listen: nobody can have connected in between
        server.listen(BACKLOG)
    except BaseException:
        server.close()
        raise
    return server, Place(path, None)


def _listen_tcp(state: Path) -> tuple[socket.socket, Place]:
    server = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    tcp = TcpPlace(server.getsockname()[1], secrets.token_urlsafe(32))
    descriptor = os.open(state / TCP_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(tcp))
    return server, Place(None, tcp)


def remove(state: Path) -> None:
    """Take away what an earlier run left behind; harmless when there is nothing.

    Raises ConfigError when it cannot be taken away.
    """
    for name in (SOCKET_FILE, TCP_FILE):
        try:
            (state / name).unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(
                f"{state / name} is in the way of the node's control socket "
                f"({error.strerror}): move it elsewhere"
            ) from error
