"""The conformance checks as pytest tests: inherit one class, give one fixture. Needs pytest.

    class TestMyTransport(TransportConformance):
        @pytest.fixture
        def transport_factory(self):
            return my_package.transport

    class TestMyBinding(BindingConformance):
        @pytest.fixture
        def binding_factory(self):
            return my_package.binding

Each check of `keynet.testing` becomes one test; what does not concern the implementation is
skipped with the reason.
"""

from __future__ import annotations

import pytest

from keynet.testing import rpc, transport
from keynet.testing.rpc import BindingFactory
from keynet.testing.rules import NotApplicable
from keynet.testing.transport import TransportFactory


def _name(check: transport.Check | rpc.Check) -> str:
    return f"{check.rule}-{check.name}"


class TransportConformance:
    """One test for each rule of the transport part of docs/writing-a-plugin.md."""

    @pytest.fixture
    def transport_factory(self) -> TransportFactory:
        """The factory that the entry point names, without arguments. Override it."""
        raise NotImplementedError("give a fixture named transport_factory")

    @pytest.mark.parametrize("check", transport.CHECKS, ids=_name)
    def test_keeps_the_rule(
        self, check: transport.Check, transport_factory: TransportFactory
    ) -> None:
        try:
            check(transport_factory)
        except NotApplicable as reason:
            pytest.skip(str(reason))


class BindingConformance:
    """One test for each rule of the RPC part of docs/writing-a-plugin.md."""

    @pytest.fixture
    def binding_factory(self) -> BindingFactory:
        """The factory that the entry point names, without arguments. Override it."""
        raise NotImplementedError("give a fixture named binding_factory")

    @pytest.fixture
    def sockets(self) -> bool:
        """Whether the binding makes sockets of its own, and so needs proxies and real time."""
        return False

    @pytest.mark.parametrize("check", rpc.CHECKS, ids=_name)
    def test_keeps_the_rule(
        self, check: rpc.Check, binding_factory: BindingFactory, sockets: bool
    ) -> None:
        try:
            check(binding_factory, sockets=sockets)
        except NotApplicable as reason:
            pytest.skip(str(reason))
