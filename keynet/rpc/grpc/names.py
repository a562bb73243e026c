"""What both ends of the binding know of each other. Nothing here knows grpcio."""

NAME = "grpc"
"""The binding's name, and its protocol's between nodes."""

MAX_CALLS = 1024
"""Calls of one channel at the same time; the others wait. More than a node runs for one peer by
default, so that it is its dispatch that refuses, and says so."""

KEEPALIVE = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
)
"""While calls run, either end notices within 50 s one that is silent behind a path that lives.
That the path itself died, the transport tells much sooner."""

FLOW = (
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1 << 20),
)
"""Bytes of one stream that may be under way or unread. By itself grpcio widens the windows of all
streams when much arrives, of those that nobody reads too: many of these then fill the memory."""

MIN_PING_INTERVAL = 10_000
"""Milliseconds between two such pings that a server takes without complaint."""
