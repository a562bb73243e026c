"""The state directory: where it is, and that one process at a time holds it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keynet.errors import ConfigError
from keynet.state import StateLock, state_dir


def test_the_override_wins_over_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYNET_STATE", str(tmp_path / "environment"))
    assert state_dir() == tmp_path / "environment"
    assert state_dir(tmp_path / "flag") == tmp_path / "flag"


def test_without_either_it_is_the_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KEYNET_STATE")
    assert "keynet" in state_dir().parts[-1]
    assert state_dir().is_absolute()


@pytest.mark.parametrize("below", ["", "sub", "sub/sub"])
def test_a_file_is_no_state_directory(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"because .*/file is a file: name a directory"):
        state_dir(tmp_path / "file" / below)


def test_a_held_lock_names_its_holder(tmp_path: Path) -> None:
    with StateLock(tmp_path):
        second = StateLock(tmp_path)
        with pytest.raises(ConfigError, match=f"process {os.getpid()}"):
            second.acquire()
        assert not second.held


def test_a_released_lock_can_be_taken_again(tmp_path: Path) -> None:
    first, second = StateLock(tmp_path / "made"), StateLock(tmp_path / "made")
    first.acquire()
    assert first.held
    first.release()
    first.release()
    second.acquire()
    assert second.held
    second.release()
    assert os.listdir(tmp_path / "made") in ([], ["lock"])


def test_a_flag_is_not_written_down_as_it_may_be_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/bin/keynet", "--proxy-token=secret", "run"])
    with StateLock(tmp_path):
        assert "secret" not in (tmp_path / "lock.holder").read_text()


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be locked"):
        StateLock(tmp_path / "file" / "state").acquire()


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_a_directory_that_others_can_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(ConfigError, match="others can write"):
        StateLock(tmp_path).acquire()
    assert list(tmp_path.iterdir()) == []
    tmp_path.chmod(0o750)
    with StateLock(tmp_path):
        pass
