"""The command as a whole: verbs, exit statuses, one line for an error, and quick help."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import keynet as package
from keynet.address import NodeId
from keynet.cli import VERBS

from .conftest import Keynet

NODE = NodeId(bytes(range(32)))


def test_version(keynet: Keynet) -> None:
    assert keynet("--version") == (0, f"keynet {package.__version__}\n", "")


def test_help_names_every_verb(keynet: Keynet) -> None:
    status, out, _ = keynet("--help")
    assert status == 0
    assert all(verb in out for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(keynet: Keynet, verb: str) -> None:
    status, out, _ = keynet(verb, "--help")
    assert status == 0
    assert "Usage" in out
    module = import_module("keynet.cli." + verb.replace("-", "_"))
    assert hasattr(module, "app") or callable(module.command)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from keynet.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'cryptography', 'OpenSSL', 'stevedore', 'grpc', 'h11'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["run", "--listen", "nonsense"], "--listen: expected HOST:PORT, not 'nonsense'"),
        (["run", "--expose", "80"], "--expose: expected PORT=HOST:PORT"),
        (["run", "--allow", "bob"], "--allow: a node id has 52 characters"),
        (["run", "--peer", str(NODE)], "--peer: expected NODEID@HOST:PORT"),
        (["run", "--proxy", "0.0.0.0:0"], "give --proxy-token"),
        (["run", "--log-level", "loud"], "--log-level: expected one of debug"),
        (["run", "--config", "/no/such.toml"], "cannot read the configuration file"),
        (["run", "--passphrase-file", "/no/such"], "/no/such cannot be read"),
        (["run", "--transport-option", "congestion=warp"], "no congestion control is called"),
        (["run", "--transport", "pigeon"], "no installed distribution offers the transport"),
        (["demo", "--transport", "pigeon"], "no installed distribution offers the transport"),
        (["run", "--transport-option", "nope=3"], "'utp' has no option 'nope'; it has: congestion"),
        (["forward", "80"], "expected LOCAL=NODEID:PORT or :PROTOCOL, not '80'"),
    ],
)
def test_a_wrong_setting_is_one_line_and_status_2(
    keynet: Keynet, args: list[str], complaint: str
) -> None:
    status, out, err = keynet(*args)
    assert (status, out) == (2, "")
    assert err.startswith("keynet: ")
    assert complaint in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["status"], "no node is running"),
        (["forward", f"80={NODE}:1"], "no node is running"),
    ],
)
def test_other_failures_are_one_line_and_status_1(
    keynet: Keynet, args: list[str], complaint: str
) -> None:
    status, out, err = keynet(*args)
    assert (status, out) == (1, "")
    assert complaint in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("args", [["dance"], ["run", "--dance"], ["forward"]])
def test_a_wrong_command_line_is_status_2(keynet: Keynet, args: list[str]) -> None:
    status, _, err = keynet(*args)
    assert status == 2
    assert "Error" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full device")
@pytest.mark.parametrize("args", [["plugins"], ["plugins", "--json"]])
def test_a_full_disk_is_one_line(args: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "keynet", *args],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
        )
    assert done.stderr == "keynet: the system refused: No space left on device\n"
    assert done.returncode == 1
