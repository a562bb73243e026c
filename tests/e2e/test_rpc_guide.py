"""What docs/rpc.md tells people to type and to paste does what it says there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import Spawn

GUIDE = Path(__file__).parents[2] / "docs" / "rpc.md"
PATIENCE = 40.0
BLOCK = re.compile(r"^```\w+\n((?:#|//) (\w+\.\w+)\n.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = {name: text for text, name in BLOCK.findall(GUIDE.read_text("utf-8"))}
"""The blocks that begin with a file's name, by that name."""


pytestmark = pytest.mark.timeout(150)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the guide's files in it, which is the current one."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(*command: str, given: str = "") -> list[str]:
    """The lines that a command prints; it must do well."""
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def keynet(*arguments: str, given: str = "") -> list[str]:
    return said(sys.executable, "-m", "keynet", *arguments, given=given)


def python(name: str, *arguments: str) -> list[str]:
    return said(sys.executable, name, *arguments)


def identity(state: str) -> str:
    return keynet("id", "new", "--state", state)[0]


def moved(place: Path, name: str, address: str) -> str:
    """The file, made to go to an address that the system chose instead of the guide's."""
    path = place / name
    text, changed = re.subn(r"127\.0\.0\.1:41\d\d", address, path.read_text("utf-8"))
    host, _, port = address.rpartition(":")
    text, more = re.subn(r'\("127\.0\.0\.1", 41\d\d\)', f'("{host}", {port})', text)
    assert changed + more == 1
    path.write_text(text, "utf-8")
    return name


def test_the_files_are_found() -> None:
    assert sorted(FILES) == [
        *("calls.py", "greeter.py", "plain_grpc.js", "plain_grpc.py", "plain_jsonrpc.py"),
        "serve.py",
    ]


def test_the_command_line_and_plain_clients(place: Path, spawn: Spawn) -> None:
    pytest.importorskip("grpc")
    a, b = identity("a"), identity("b")
    listen = ("--json", "--listen", "127.0.0.1:0", "--rpc", "grpc")
    serving = ("--serve", "greeter:greeter", "--allow-call", f"{b}=greeter")
    (udp,) = spawn("run", "--state", "a", *listen, *serving).event("ready")["udp"]
    proxy = ("--proxy", "127.0.0.1:0", "--proxy-token", "secret")
    ready = spawn("run", "--state", "b", *listen, *proxy, "--peer", f"{a}@{udp}").event("ready")

    call = ("call", "--state", "b", a)
    assert "greeter.count(to: integer) -> stream of integer" in keynet(
        "services", "--state", "b", a
    )
    assert keynet(*call, "greeter.hello", '{"name": "you"}') == ['"hello you"']
    assert keynet(*call, "greeter.total", given="1\n2\n3\n") == ["6"]
    assert keynet(*call, "greeter.whoami") == [json.dumps(b)]

    assert python(moved(place, "plain_grpc.py", ready["proxy"]), a) == ["hello you"]
    forward = spawn("forward", "--json", "--state", "b", f"127.0.0.1:0={a}:jsonrpc")
    local = json.loads(forward.line())["local"]
    assert python(moved(place, "plain_jsonrpc.py", local)) == ["hello you"]


def test_programs(place: Path) -> None:
    pytest.importorskip("grpc")
    a, b = identity("a"), identity("b")
    with start(moved(place, "serve.py", "127.0.0.1:0"), b) as serving:
        assert serving.stdout is not None
        node_id, address = serving.stdout.readline().split()
        assert node_id == a
        words = ["hello you", "1", "2", "3", "6", "ONE", "TWO", "goodbye nobody"]
        for binding in ("jsonrpc", "grpc"):
            assert python("calls.py", a, address, binding) == words


@contextmanager
def start(name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A program that runs until it is killed."""
    command = [sys.executable, name, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            yield program
        finally:
            program.kill()
