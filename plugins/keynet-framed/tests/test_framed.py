"""All that a plugin has to do to be checked against every rule."""

from __future__ import annotations

import pytest
from keynet_framed import binding

from keynet.testing.pytest_plugin import BindingConformance
from keynet.testing.rpc import BindingFactory


class TestFramed(BindingConformance):
    @pytest.fixture
    def binding_factory(self) -> BindingFactory:
        return binding
