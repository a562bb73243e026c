"""`keynet id`: what each verb prints, and one line for each fault."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from keynet.cli import main
from keynet.cli.id import app
from keynet.control import ControlServer
from keynet.identity import IdentityStore
from keynet.state import StateLock

run = CliRunner()


def facts(*words: str) -> dict[str, object]:
    result = run.invoke(app, [*words, "--json"])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert isinstance(facts, dict)
    return facts


def test_new_show_and_rotate_agree(tmp_path: Path) -> None:
    state = ("--state", str(tmp_path))
    made = facts("new", *state)
    assert facts("show", *state) == made
    rotated = facts("rotate", *state)
    assert rotated["lineage"] == [rotated["node_id"], made["node_id"]]
    assert facts("show", *state) == rotated


def test_people_see_every_id_whole(tmp_path: Path) -> None:
    made = facts("new", "--state", str(tmp_path))
    rotated = facts("rotate", "--state", str(tmp_path))
    shown = run.invoke(app, ["show", "--state", str(tmp_path)]).stdout
    assert str(made["node_id"]) in shown
    assert str(rotated["node_id"]) in shown


def test_the_environment_names_the_directory(isolated_state: Path) -> None:
    made = facts("new")
    assert made["state"] == str(isolated_state)
    assert str(IdentityStore(isolated_state).load().node_id) == made["node_id"]


def test_a_passphrase_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "passphrase"
    file.write_bytes(b"correct horse\r\nanother line\n")
    made = facts("new", "--passphrase-file", str(file))
    monkeypatch.setenv("KEYNET_PASSPHRASE", "correct horse")
    assert facts("show") == made
    monkeypatch.setenv("KEYNET_PASSPHRASE", "wrong")
    assert "wrong passphrase" in fault("show")


def fault(*words: str) -> str:
    """The one line that the command prints on standard error."""
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
        pytest.raises(SystemExit) as ended,
    ):
        main(["id", *words])
    assert ended.value.code in (1, 2)
    assert out.getvalue() == ""
    assert err.getvalue().count("\n") == 1
    assert "horse" not in err.getvalue()
    return err.getvalue()


def test_faults_are_one_line_each(tmp_path: Path) -> None:
    state = ("--state", str(tmp_path))
    assert "keynet id new" in fault("show", *state)
    assert "keynet id new" in fault("rotate", *state)
    facts("new", *state)
    assert "exists already" in fault("new", *state)
    missing = str(tmp_path / "missing")
    assert "cannot be read" in fault("show", *state, "--passphrase-file", missing)
    (tmp_path / "empty").touch()
    assert "no passphrase" in fault("show", *state, "--passphrase-file", str(tmp_path / "empty"))


async def test_a_running_node_rotates_its_own(tmp_path: Path) -> None:
    state = ("--state", str(tmp_path))
    made = await asyncio.to_thread(facts, "new", *state)
    store = IdentityStore(tmp_path)

    async def rotate(_: Mapping[str, object]) -> object:
        return store.rotate().facts()

    with StateLock(tmp_path):
        node = ControlServer(tmp_path, {"rotate": rotate})
        await node.start()
        rotated = await asyncio.to_thread(facts, "rotate", *state)
        await node.aclose()
    assert rotated["lineage"] == [rotated["node_id"], made["node_id"]]
    assert facts("show", *state) == rotated


def test_an_identity_that_is_in_use_is_not_rotated_when_no_node_answers(tmp_path: Path) -> None:
    made = facts("new", "--state", str(tmp_path))
    with StateLock(tmp_path):
        assert f"process {os.getpid()}" in fault("rotate", "--state", str(tmp_path))
        assert facts("show", "--state", str(tmp_path)) == made
