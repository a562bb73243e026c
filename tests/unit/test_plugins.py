"""Plugin discovery against fake distributions on a temporary path."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import pytest

from keynet import plugins
from keynet.errors import (
    ConfigError,
    ContractBroken,
    PluginConflict,
    PluginLoadFailed,
    PluginNotFound,
)

GROUP = "keynet.test-group"

Install = Callable[..., None]


@runtime_checkable
class Animal(Protocol):
    @property
    def name(self) -> str: ...

    def speak(self) -> str: ...


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """`install(dist, entry_points, code)` puts a distribution with one module on the path."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def put(dist: str, entry_points: dict[str, str], code: str = "", version: str = "1.0") -> None:
        info = tmp_path / f"{dist}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}\n")
        lines = [f"[{GROUP}]", *(f"{name} = {target}" for name, target in entry_points.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        (tmp_path / f"{dist}.py").write_text(code)
        sys.path_importer_cache.pop(str(tmp_path), None)

    yield put  # type: ignore[misc]
    for name in set(sys.modules) - before:
        if name.startswith("fake_"):
            del sys.modules[name]


GOOD = """
def counting(times: int = 1, pause: float = 0.0, loud: bool = False, sound: str = ""):
    return Dog((times, pause, loud, sound))
def unreadable(sound: "OnlyForTypeCheckers"): return Dog(sound)
class Dog:
    name = "dog"
    def __init__(self, sound="woof"): self.sound = sound
    def speak(self): return self.sound
def dog(sound="woof"): return Dog(sound)
def choosy(**settings):
    from keynet.errors import ConfigError
    raise ConfigError("no such sound")
def stone(**settings): return object()
def impostor(**settings):
    d = Dog(); d.name = "cat"; return d
falsy = type("F", (), {"__bool__": lambda self: False, "__call__": lambda self: Dog()})()
number = 7
"""


def test_load_gives_the_factory(install: Install) -> None:
    install("fake_good", {"dog": "fake_good:dog"}, GOOD)
    assert plugins.load(GROUP, "dog")().speak() == "woof"


def test_a_factory_that_is_falsy_is_given_as_it_is(install: Install) -> None:
    install("fake_good", {"dog": "fake_good:falsy"}, GOOD)
    assert plugins.load(GROUP, "dog")().speak() == "woof"


def test_unknown_name_says_what_there_is(install: Install) -> None:
    install("fake_good", {"dog": "fake_good:dog"}, GOOD)
    with pytest.raises(PluginNotFound, match="'cat'; there are: dog"):
        plugins.load(GROUP, "cat")


def test_nothing_installed_at_all(install: Install) -> None:
    with pytest.raises(PluginNotFound, match="install keynet with pip"):
        plugins.load(GROUP, "cat")


def test_two_distributions_with_one_name_are_a_conflict(install: Install) -> None:
    install("fake_one", {"dog": "fake_one:dog"}, GOOD)
    install("fake_two", {"dog": "fake_two:dog"}, GOOD)
    with pytest.raises(PluginConflict, match=r"fake_one 1\.0 and fake_two 1\.0"):
        plugins.load(GROUP, "dog")
    assert [p.error is not None for p in plugins.available(GROUP)] == [True, True]


def test_two_distributions_with_one_name_and_target_are_a_conflict_too(install: Install) -> None:
    install("fake_one", {"dog": "fake_one:dog"}, GOOD)
    install("fake_two", {"dog": "fake_one:dog"}, GOOD)
    with pytest.raises(PluginConflict):
        plugins.load(GROUP, "dog")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError: No module named"),
        ("assert False, 'wrong platform'", "AssertionError: wrong platform"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def (", "SyntaxError"),
        ("", "AttributeError"),
        ("thing = 7", "no factory function but a int"),
    ],
)
def test_a_broken_plugin_does_not_break_the_others(
    install: Install, code: str, reason: str
) -> None:
    install("fake_broken", {"broken": "fake_broken:thing"}, code)
    install("fake_good", {"dog": "fake_good:dog"}, GOOD)
    broken, dog = plugins.available(GROUP)
    assert broken.error is not None
    assert reason in broken.error
    assert "\n" not in broken.error
    assert dog == plugins.Plugin(GROUP, "dog", "fake_good 1.0", "fake_good:dog", None)
    with pytest.raises(PluginLoadFailed, match=r"'broken' of fake_broken 1\.0"):
        plugins.load(GROUP, "broken")
    assert plugins.load(GROUP, "dog")().speak() == "woof"


def test_load_imports_only_the_plugin_asked_for(install: Install) -> None:
    install("fake_other", {"other": "fake_other:x"}, "x = print")
    install("fake_good", {"dog": "fake_good:dog"}, GOOD)
    plugins.load(GROUP, "dog")
    assert "fake_other" not in sys.modules


def test_a_distribution_installed_meanwhile_is_seen(install: Install, tmp_path: Path) -> None:
    install("fake_good", {"dog": "fake_good:dog"}, GOOD)
    assert len(plugins.available(GROUP)) == 1
    install("fake_two", {"cat": "fake_two:dog"}, GOOD)
    assert len(plugins.available(GROUP)) == 2
    assert not (tmp_path / "cache").exists(), "the scan left a cache behind"


def test_create_passes_settings_and_checks_the_contract(install: Install) -> None:
    install("fake_good", {"dog": "fake_good:dog"}, GOOD)
    assert plugins.create(GROUP, "dog", Animal, sound="wau").speak() == "wau"


def test_a_setting_the_factory_does_not_know(install: Install) -> None:
    install("fake_good", {"dog": "fake_good:dog"}, GOOD)
    with pytest.raises(ConfigError, match="'dog' has no option 'colour'; it has: sound"):
        plugins.create(GROUP, "dog", Animal, colour="red")


def test_a_setting_whose_value_the_factory_refuses(install: Install) -> None:
    install("fake_good", {"dog": "fake_good:choosy"}, GOOD)
    with pytest.raises(ConfigError, match="no such sound"):
        plugins.create(GROUP, "dog", Animal, sound="?")


def test_settings_that_are_text_become_what_the_factory_takes(install: Install) -> None:
    install("fake_good", {"dog": "fake_good:counting"}, GOOD)
    given = {"times": "2", "pause": "0.5", "loud": "true", "sound": "1"}
    assert plugins.create(GROUP, "dog", Animal, **given).speak() == (2, 0.5, True, "1")
    assert plugins.create(GROUP, "dog", Animal, times=3).speak()[0] == 3
    with pytest.raises(ConfigError, match="option 'times' of 'dog' takes a value of type int"):
        plugins.create(GROUP, "dog", Animal, times="two")


def test_annotations_that_cannot_be_read_leave_settings_as_they_are(install: Install) -> None:
    install("fake_good", {"dog": "fake_good:unreadable"}, GOOD)
    assert plugins.create(GROUP, "dog", Animal, sound="1").speak() == "1"


def test_a_product_that_lacks_part_of_the_contract(install: Install) -> None:
    install("fake_good", {"stone": "fake_good:stone"}, GOOD)
    with pytest.raises(ContractBroken, match="no Animal: it lacks name, speak"):
        plugins.create(GROUP, "stone", Animal)


def test_a_product_with_another_name(install: Install) -> None:
    install("fake_good", {"dog": "fake_good:impostor"}, GOOD)
    with pytest.raises(ContractBroken, match="calls itself 'cat'"):
        plugins.create(GROUP, "dog", Animal)


def test_importing_the_module_does_not_import_stevedore() -> None:
    import subprocess

    code = "import sys, keynet.plugins; sys.exit('stevedore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
