"""What is exposed, and to whom."""

from __future__ import annotations

import pytest

from keynet.address import Authority, NodeId
from keynet.config.values import Allow, Service
from keynet.errors import ConfigError
from keynet.rpc.proxy.services import Access, Services

NEW, OLD, OTHER = (NodeId(bytes([n]) * 32) for n in (1, 2, 3))
LOCAL = Authority("localhost", 50051)


class TestServices:
    def test_change_while_running(self) -> None:
        services = Services([Service(80, LOCAL)])
        services.expose(Service(81, LOCAL))
        assert [s.port for s in services] == [80, 81]
        services.unexpose(80)
        assert services.find(80) is None
        assert services.find(81) == LOCAL

    def test_the_only_one(self) -> None:
        assert Services().only is None
        assert Services([Service(80, LOCAL)]).only == 80
        assert Services([Service(80, LOCAL), Service(81, LOCAL)]).only is None

    def test_what_is_not_exposed_cannot_be_taken_back(self) -> None:
        with pytest.raises(ConfigError):
            Services().unexpose(80)


class TestAccess:
    def test_nothing_is_allowed_by_default(self) -> None:
        assert Access().match((NEW,), 80) is None
        assert not Access().knows((NEW,))

    def test_a_rule_without_ports_is_for_all(self) -> None:
        access = Access([Allow(NEW, None)])
        assert access.match((NEW,), 80) == NEW
        assert access.match((OTHER,), 80) is None

    def test_a_rule_with_ports_is_for_those(self) -> None:
        access = Access([Allow(NEW, frozenset({80, 81}))])
        assert access.match((NEW,), 81) == NEW
        assert access.match((NEW,), 82) is None
        assert access.knows((NEW,))

    def test_any_id_of_the_lineage_lets_in(self) -> None:
        access = Access([Allow(OLD, frozenset({80}))])
        assert access.match((NEW, OLD), 80) == OLD
        assert access.match((NEW, OLD), 81) is None

    def test_rules_for_one_id_add_up(self) -> None:
        access = Access([Allow(NEW, frozenset({80})), Allow(NEW, frozenset({81}))])
        assert access.match((NEW,), 80) == access.match((NEW,), 81) == NEW
        access.allow(Allow(NEW, None))
        assert access.match((NEW,), 82) == NEW
        access.allow(Allow(NEW, frozenset({80})))
        assert access.match((NEW,), 82) == NEW

    def test_taken_back(self) -> None:
        access = Access([Allow(NEW, None)])
        access.disallow(NEW)
        assert access.match((NEW,), 80) is None
        with pytest.raises(ConfigError):
            access.disallow(NEW)

    def test_anyone_is_said_outright(self) -> None:
        access = Access(anyone=True)
        assert access.match((NEW, OLD), 80) == NEW
        assert access.knows((OTHER,))
