"""What `keynet run` and `Node` can be told: one frozen model, from flags, TOML or Python."""

from keynet.config.model import Config, read
from keynet.config.values import (
    ANY,
    Allow,
    AllowCalls,
    Forward,
    Service,
    ServiceObject,
    StaticPeer,
    UnixPath,
)

__all__ = [
    "ANY",
    "Allow",
    "AllowCalls",
    "Config",
    "Forward",
    "Service",
    "ServiceObject",
    "StaticPeer",
    "UnixPath",
    "read",
]
