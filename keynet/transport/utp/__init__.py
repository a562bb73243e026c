"""The built-in transport: uTP (BEP 29) with mutual TLS 1.3 inside each stream."""

from __future__ import annotations

from random import Random, SystemRandom

from keynet.address import NodeId
from keynet.engine import Buffer, Datagrams
from keynet.errors import ConfigError
from keynet.identity import Identity
from keynet.transport.api import Capability, LinkInfo
from keynet.transport.channel import SecureChannel
from keynet.transport.tls import TlsChannel
from keynet.transport.utp import congestion as algorithms
from keynet.transport.utp.engine import Engine
from keynet.transport.utp.factory import ChannelFactory, Settings
from keynet.transport.utp.packet import HEADER_SIZE, VERSION, PacketType, decode, refusal
from keynet.transport.utp.table import is_dialers_id

_SYN = PacketType.SYN << 4 | VERSION


class Utp:
    """The `keynet.transport.api.Transport` of this package."""

    name = "utp"
    capabilities = Capability.STREAMS

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def claims(self, datagram: Buffer) -> bool:
        """A SYN: exactly one header of version 1 (libutp may add an extension of 10 bytes)."""
        view = memoryview(datagram)
        if not HEADER_SIZE <= len(view) <= HEADER_SIZE + 10 or view[0] != _SYN:
            return False
        return is_dialers_id(view[2] << 8 | view[3])

    def refuse(self, datagram: Buffer) -> bytes | None:
        """The RESET for a packet of a connection that nobody here knows: its end should know."""
        packet = decode(datagram)
        if packet is None or packet.type in (PacketType.SYN, PacketType.RESET):
            return None
        return refusal(packet)

    def connect(self, link: LinkInfo, local: Identity, expected: NodeId, now: float) -> Engine:
        """Dial; see `keynet.transport.api.Transport.connect`."""
        engine = self._engine(link, local, expected, now)
        engine.dial(now)
        return engine

    def accept(self, link: LinkInfo, first: Datagrams, local: Identity, now: float) -> Engine:
        """Answer; see `keynet.transport.api.Transport.accept`."""
        engine = self._engine(link, local, None, now)
        engine.answer(first, now)
        return engine

    def _engine(
        self, link: LinkInfo, local: Identity, expected: NodeId | None, now: float
    ) -> Engine:
        return Engine(link, self._channel, self._settings, local, expected, now)

    def _channel(
        self, local: Identity, opened_here: bool, expected: NodeId | None
    ) -> SecureChannel:
        return TlsChannel(local, server=not opened_here, expected=expected)


def transport(congestion: str = algorithms.DEFAULT, random: Random | None = None) -> Utp:
    """The factory behind the entry point `utp`.

    `congestion` is "bbr", "cubic" or "ledbat"; ConfigError for any other. `random` replaces the
    system's randomness for connection ids and sequence numbers in simulations.
    """
    if congestion not in algorithms.ALGORITHMS:
        choices = ", ".join(sorted(algorithms.ALGORITHMS))
        raise ConfigError(f"no congestion control is called {congestion!r}; choose {choices}")
    return Utp(Settings(congestion, random or SystemRandom()))


__all__ = ["ChannelFactory", "Engine", "Settings", "Utp", "transport"]
