"""What metadata may be: the rules of `api.Metadata`, checked at both ends. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from keynet.errors import ConfigError
from keynet.rpc.api import MAX_METADATA, Metadata

MAX_PAIRS = 128
"""Pairs in all: each costs more than its bytes."""

_KEY = re.compile(r"[a-z0-9_.-]+", re.ASCII)
_VALUE = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?", re.ASCII)
_RESERVED = frozenset(
    {
        *("connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"),
        *("content-length", "content-type", "host", "trailer", "user-agent"),
    }
)
"""RFC 9113 section 8.2.2 forbids the first row in HTTP/2; gRPC and HTTP fill in the second."""

_PREFIXES = ("grpc-", "keynet-")
"""What gRPC and keynet's own bindings add."""


def checked(metadata: Iterable[tuple[str, str]]) -> Metadata:
    """`metadata` as a tuple. Raises ConfigError when a key or a value cannot be carried."""
    pairs = tuple(metadata)
    if len(pairs) > MAX_PAIRS:
        raise ConfigError(f"{len(pairs)} metadata pairs are more than {MAX_PAIRS}")
    size = 0
    for pair in pairs:
        key, value = _text(pair)
        _check_pair(key, value)
        size += len(key) + len(value)
    if size > MAX_METADATA:
        raise ConfigError(f"{size} bytes of metadata are more than {MAX_METADATA}")
    return pairs


def _text(pair: object) -> tuple[str, str]:
    match pair:
        case (str(key), str(value)):
            return key, value
    raise ConfigError("metadata is pairs of texts: a key and a value")


def _check_pair(key: str, value: str) -> None:
    if not _KEY.fullmatch(key):
        raise ConfigError(f"a metadata key has a-z, 0-9, _, . and - only, not {key[:80]!r}")
    if key.startswith(_PREFIXES) or key in _RESERVED:
        raise ConfigError(f"the metadata key {key[:80]} is taken: choose another")
    if not _VALUE.fullmatch(value):
        raise ConfigError(
            f"the value of metadata {key[:80]} is not printable ASCII, or has a space at an end"
        )
