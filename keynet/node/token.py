"""The forward proxy's token: made once, kept in the state directory, readable by its owner only."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from keynet.config.values import proxy_token
from keynet.errors import ConfigError
from keynet.state import write_private

FILE = "proxy-token"


def new_token() -> str:
    """A token that nobody guesses: 256 bits, safe in URLs and headers."""
    return secrets.token_urlsafe(32)


def kept_token(state: Path) -> str:
    """The token kept in `state`; made at the first call. Raises ConfigError when the file is
    spoilt or cannot be written.
    """
    path = state / FILE
    try:
        text = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return _make(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the proxy token in {path}: {error}; remove it") from error
    if path.stat().st_mode & 0o077 and os.name == "posix":
        raise ConfigError(f"others can read the proxy token in {path}: remove it, or chmod 600 it")
    try:
        return proxy_token(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}; remove the file to have a new one made") from error


def _make(path: Path) -> str:
    token = new_token()
    try:
        write_private(path, f"{token}\n".encode("ascii"))
    except OSError as error:
        raise ConfigError(f"cannot write the proxy token to {path}: {error.strerror}") from error
    return token
