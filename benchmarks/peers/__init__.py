"""One file for each way to carry bytes; imported only when it is asked for."""

from __future__ import annotations

import importlib

from benchmarks.stream import Peer

MODULES = {
    "utp": "bare_utp",
    "utp+tls": "utp_tls",
    "utp+tls, no offload": "utp_tls_no_offload",
    "whole path": "whole_path",
    "aioquic": "quic",
    "asyncio TLS": "asyncio_tls",
}
"""From the name that the report shows to the module here."""


def make(name: str) -> Peer:
    """A new peer of that kind. ImportError when what it needs is not installed."""
    module = importlib.import_module(f"benchmarks.peers.{MODULES[name]}")
    peer: Peer = module.make()
    return peer
