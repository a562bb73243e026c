"""The conformance checks as pytest tests: inherit one class, give one fixture. Needs pytest.

    class TestMyTransport(TransportConformance):
        @pytest.fixture
        def transport_factory(self):
            return my_package.transport

Each check of `keynet.testing` becomes one test; what does not concern the transport is skipped
with the reason.
"""

from __future__ import annotations

import pytest

from keynet.testing.transport import CHECKS, Check, NotApplicable, TransportFactory


class TransportConformance:
    """One test for each rule of the transport part of docs/writing-a-plugin.md."""

    @pytest.fixture
    def transport_factory(self) -> TransportFactory:
        """The factory that the entry point names, without arguments. Override it."""
        raise NotImplementedError("give a fixture named transport_factory")

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: f"{check.rule}-{check.name}")
    def test_keeps_the_rule(self, check: Check, transport_factory: TransportFactory) -> None:
        try:
            check(transport_factory)
        except NotApplicable as reason:
            pytest.skip(str(reason))
