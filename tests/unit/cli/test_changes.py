"""`keynet allow`, `allow-call`, `expose` and `peer`: what they ask the node, and what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keynet.address import NodeId

from .conftest import Keynet

PEER = str(NodeId(bytes(32)))
ENTRIES = {
    "allow": f"{PEER}=80",
    "allow-call": f"{PEER}=greeter",
    "expose": "80=127.0.0.1:8080",
    "peer": f"{PEER}@192.0.2.1:4",
}
Asked = list[tuple[str, dict[str, str]]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What the node was asked; it keeps one entry of each table."""
    requests: Asked = []

    def call(state: Path, verb: str, **params: Any) -> list[str]:
        requests.append((verb, params))
        return [] if params["action"] == "remove" else [params.get("value", ENTRIES[verb])]

    monkeypatch.setattr("keynet.cli.changes.call", call)
    return requests


@pytest.mark.parametrize(("verb", "entry"), ENTRIES.items())
def test_each_table(keynet: Keynet, asked: Asked, verb: str, entry: str) -> None:
    status, out, err = keynet(verb, "add", entry)
    assert (status, out) == (0, f"{entry}\n")
    assert err == (
        "keynet: this lasts until the node stops; to keep it, let the file of keynet run "
        f'--config say: {verb} = ["{entry}"]\n'
    )
    assert keynet(verb, "list") == (0, f"{entry}\n", "")
    assert json.loads(keynet(verb, "list", "--json").out) == [entry]
    assert keynet(verb, "remove", "x").out == "none\n"
    assert asked == [
        (verb, {"action": "add", "value": entry}),
        (verb, {"action": "list"}),
        (verb, {"action": "list"}),
        (verb, {"action": "remove", "value": "x"}),
    ]


def test_any_is_written_as_the_setting_takes_it(keynet: Keynet, asked: Asked) -> None:
    assert keynet("allow", "add", "any").err.endswith('say: allow = "any"\n')


@pytest.mark.parametrize("verb", ENTRIES)
def test_without_a_node_it_says_so(keynet: Keynet, verb: str) -> None:
    status, out, err = keynet(verb, "list")
    assert (status, out) == (1, "")
    assert "no node is running" in err
