"""Streaming JSON-RPC 2.0 between nodes: many calls on one transport stream, one message a line.

`session/` is the protocol without any I/O; beside it stand the texts of messages (`envelope`,
`codec`, `codes`, `lines`, `credit`), and the shells that read and write streams (`server`,
`channel`). docs/protocol.md has the wire format. Nothing here sees transports or proxies.
"""

from keynet.rpc.jsonrpc.binding import Binding, binding
from keynet.rpc.jsonrpc.channel import Channel, channel_over
from keynet.rpc.jsonrpc.server import Server
from keynet.rpc.jsonrpc.session.settings import Settings

__all__ = ["Binding", "Channel", "Server", "Settings", "binding", "channel_over"]
