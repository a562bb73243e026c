"""`keynet plugins`."""

from __future__ import annotations

import json

import pytest

from keynet.plugins import Plugin

from .conftest import Keynet

BROKEN = Plugin("keynet.transport", "bad", "bad 1.0", "bad:transport", "ImportError: no bad")


def test_the_built_in_transport_is_listed(keynet: Keynet) -> None:
    status, out, _ = keynet("plugins", "--json")
    found = json.loads(out)
    assert status == 0
    assert list(found) == ["keynet.transport", "keynet.rpc", "keynet.p2p"]
    (utp,) = [one for one in found["keynet.transport"] if one["name"] == "utp"]
    assert utp["error"] is None
    assert utp["origin"].startswith("keynet ")


def test_a_broken_one_is_shown_with_its_reason(
    keynet: Keynet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "keynet.cli.plugins.available",
        lambda group: [BROKEN] if group == "keynet.transport" else [],
    )
    status, out, _ = keynet("plugins")
    assert status == 0
    assert "ImportError: no bad" in out
    assert "none" in out
