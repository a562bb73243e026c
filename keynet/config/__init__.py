"""What `keynet run` and `Node` can be told: one frozen model, from flags, TOML or Python."""

from keynet.config.model import Config, read
from keynet.config.values import (
    ANY,
    Allow,
    Forward,
    Service,
    StaticPeer,
    UnixPath,
)

__all__ = ["ANY", "Allow", "Config", "Forward", "Service", "StaticPeer", "UnixPath", "read"]
