"""What `keynet run` does besides reading flags; nodes as processes are in tests/e2e."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from keynet.config import ServiceObject
from keynet.node.loading import load_service

from .conftest import Keynet


def test_services_are_found_in_the_current_directory(
    keynet: Keynet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the console script has it: its own directory stands first in sys.path, not this one."""
    (tmp_path / "here_service.py").write_text(
        "from keynet.rpc.service import Service\nwrong = 5\nright = Service('right')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    for _ in range(2):
        refused = keynet("run", "--serve", "here_service:wrong")
        assert refused.status == 2
        assert "here_service:wrong is no keynet.rpc.service.Service but a int" in refused.err
    assert sys.path.count(str(tmp_path)) == 1
    assert load_service(ServiceObject("here_service", "right")).name == "right"
    del sys.modules["here_service"]


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["--serve", "greeter"], "--serve: expected MODULE:NAME"),
        (["--allow-call", "bob"], "--allow-call: a node id has 52 characters"),
        (["--allow-call", "any", "--allow-call", "0" * 52], "give it alone"),
        (["--rpc", "gopher"], "no installed distribution offers the rpc 'gopher'"),
        (["--rpc-option", "x"], "--rpc-option: expected KEY=VALUE"),
        (["--grace", "-1"], "--grace: expected a number of seconds"),
    ],
)
def test_settings_of_rpc_that_are_wrong(keynet: Keynet, args: list[str], complaint: str) -> None:
    status, out, err = keynet("run", *args)
    assert (status, out) == (2, "")
    assert complaint in err
    assert err.count("\n") == 1
