"""How a link is held, watched and given up: every interval in one place, in seconds."""

from __future__ import annotations

from dataclasses import dataclass

from keynet.errors import ConfigError


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """The defaults hold a NAT that forgets after 30 s, and report a loss within 15 s.

    For a NAT that forgets after 5 s, set `consent_interval` to 2.
    """

    consent_interval: float = 5.0
    """Between pings on the path in use, give or take a fifth (RFC 7675 section 5.1)."""
    standby_interval: float = 15.0
    """Between pings on each other path."""
    path_timeout: float = 8.0
    """Of silence, after which the path in use is dead."""
    standby_timeout: float = 45.0
    """Of silence, after which another path is dead."""
    loss_timeout: float = 15.0
    """After the last authentic arrival on any path: then the peer is lost."""
    retransmissions: tuple[float, ...] = (0.5, 1.0, 2.0)
    """After each ping until the next."""
    better: float = 0.7
    """A path must have less than this share of the round trip of the one in use to replace it."""
    mtu_interval: float = 600.0
    """Between searches for a larger packet size."""

    def __post_init__(self) -> None:
        if self.consent_interval >= self.path_timeout or self.path_timeout > self.loss_timeout:
            raise ConfigError(
                f"a path is pinged (every {self.consent_interval:g} s) before it is dead "
                f"({self.path_timeout:g} s), and dead before its peer is lost "
                f"({self.loss_timeout:g} s)"
            )

    def interval(self, *, standby: bool) -> float:
        """Between pings on a path."""
        return self.standby_interval if standby else self.consent_interval

    def timeout(self, *, standby: bool) -> float:
        """Of silence until a path is dead."""
        return self.standby_timeout if standby else self.path_timeout
