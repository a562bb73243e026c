"""The suite that keynet ships, over the plugin."""

from __future__ import annotations

import pytest
from keynet_quic import transport

from keynet.testing.pytest_plugin import TransportConformance
from keynet.testing.transport import TransportFactory


class TestQuic(TransportConformance):
    @pytest.fixture
    def transport_factory(self) -> TransportFactory:
        return transport
