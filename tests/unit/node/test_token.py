"""The kept proxy token: made once, private, and refused when spoilt."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keynet.errors import ConfigError
from keynet.node.token import FILE, kept_token


def test_made_once_and_private(tmp_path: Path) -> None:
    token = kept_token(tmp_path)
    assert len(token) >= 40
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert kept_token(tmp_path) == token


def test_a_write_that_fails_leaves_no_part_of_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(ConfigError, match="No space left"):
            kept_token(tmp_path)
    assert os.listdir(tmp_path) == []
    assert len(kept_token(tmp_path)) >= 40


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    kept_token(tmp_path)
    (tmp_path / FILE).chmod(0o644)
    with pytest.raises(ConfigError, match="others can read"):
        kept_token(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff\xff", b"two words", b"line\nline"])
def test_a_spoilt_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    (tmp_path / FILE).chmod(0o600)
    with pytest.raises(ConfigError, match="remove"):
        kept_token(tmp_path)
