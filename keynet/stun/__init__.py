"""Ping/pong on the data socket: STUN Binding (RFC 8489), recognised, written and read. Pure."""

from keynet.stun.structure import HEADER, MAGIC_COOKIE, is_stun

__all__ = ["HEADER", "MAGIC_COOKIE", "is_stun"]
