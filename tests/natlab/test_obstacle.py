"""Where no lab can be built, it says why. No lab."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.natlab.lab import obstacle


def test_a_user_who_is_not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)
    assert obstacle() == "network namespaces need root"


def test_missing_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None if name != "ip" else "/sbin/ip")
    assert obstacle() == "not installed: nft, conntrack (run `make natlab`)"
