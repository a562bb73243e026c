"""All that a plugin has to do to be checked against every rule."""

from __future__ import annotations

import pytest
from keynet_loopback import transport

from keynet.testing.pytest_plugin import TransportConformance
from keynet.testing.transport import TransportFactory


class TestLoopback(TransportConformance):
    @pytest.fixture
    def transport_factory(self) -> TransportFactory:
        return transport
