"""What a session is told about sizes. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from keynet.errors import ConfigError
from keynet.rpc.api import MAX_MESSAGE_SIZE
from keynet.rpc.jsonrpc.credit import INITIAL_CREDIT, MAX_GRANT

ENVELOPE = 65_536
"""Bytes that a line may have besides its message."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One session's limits."""

    max_message_size: int = MAX_MESSAGE_SIZE
    """Bytes of one request's parameters, one item or one result, either way. A server's limit is
    its dispatcher's."""
    window: int = 1 << 20
    """Bytes of one stream's items that may be under way or unread, when its reader keeps up."""
    budget: int = 32 << 20
    """Bytes that all streams' windows of a session may have together, beyond INITIAL_CREDIT each:
    what it holds for readers that do not keep up, and one item each."""
    max_calls: int = 1024
    """Calls under way on one stream, at its serving end."""

    def __post_init__(self) -> None:
        if not INITIAL_CREDIT <= self.window <= MAX_GRANT:
            raise ConfigError(f"a window is {INITIAL_CREDIT} to {MAX_GRANT} bytes")
        if min(self.max_message_size, self.max_calls) < 1 or self.budget < 0:
            raise ConfigError("message size and calls are limited to 1 or more, a budget to 0")

    @property
    def max_line(self) -> int:
        """Bytes of one line. A peer that keeps the default limit never comes near: a message too
        large for this side costs its own call alone, not the stream."""
        return max(self.max_message_size, MAX_MESSAGE_SIZE) + ENVELOPE

    @property
    def max_batch(self) -> int:
        """Bytes of the answers to a batch, which are one line: one of the largest, and small ones
        beside it."""
        return self.max_message_size + ENVELOPE // 2


DEFAULT = Settings()
