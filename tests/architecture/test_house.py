"""Rules about the source itself that import-linter cannot state."""

from __future__ import annotations

import ast
import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import keynet

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "keynet").rglob("*.py"))
NETWORK = {"asyncio", "grpc", "h11", "OpenSSL", "select", "selectors", "socket", "ssl"}
IMPURE = {*NETWORK, "secrets", "time", "threading"} - {"OpenSSL"}
LONGEST_MODULE = 400
LONGEST_FUNCTION = 60


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), name_of(path))


def imported(path: Path) -> Iterator[str]:
    """The full names of what a module imports, anywhere in it."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            yield ".".join([*above, *([node.module] if node.module else [])])


def roots(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)} - {"__future__"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
class TestEveryModule:
    def test_says_what_lives_in_it(self, path: Path) -> None:
        tree = parsed(path)
        assert not tree.body or ast.get_docstring(tree), "no docstring"

    def test_is_one_idea(self, path: Path) -> None:
        assert path.read_text(encoding="utf-8").count("\n") <= LONGEST_MODULE

    def test_has_functions_that_fit_on_a_screen(self, path: Path) -> None:
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        for node in ast.walk(parsed(path)):
            if isinstance(node, functions):
                lines = (node.end_lineno or 0) - node.lineno + 1
                assert lines <= LONGEST_FUNCTION, f"{node.name} has {lines} lines"

    def test_swallows_no_exception(self, path: Path) -> None:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ExceptHandler) and all(
                isinstance(statement, ast.Pass) for statement in node.body
            ):
                broad = node.type is None or (
                    isinstance(node.type, ast.Name)
                    and node.type.id in ("Exception", "BaseException")
                )
                assert not broad, f"line {node.lineno}"


def test_errors_import_nothing() -> None:
    assert not roots(ROOT / "keynet/errors.py")


@pytest.mark.parametrize("path", sorted((ROOT / "keynet/transport/utp").rglob("*.py")), ids=name_of)
def test_the_utp_engine_is_sans_io(path: Path) -> None:
    assert not roots(path) & IMPURE


@pytest.mark.parametrize(
    "path",
    sorted({*(ROOT / "keynet/relay").glob("*.py")} - {ROOT / "keynet/relay/serving.py"}),
    ids=name_of,
)
def test_the_turn_engines_are_sans_io(path: Path) -> None:
    assert not roots(path) & IMPURE


def test_p2p_knows_no_network() -> None:
    allowed = ("keynet.p2p", "keynet.errors", "keynet.address", "keynet.identity", "keynet.plugins")
    for path in (ROOT / "keynet").glob("p2p/**/*.py"):
        assert not roots(path) & NETWORK, name_of(path)
        foreign = [name for name in imported(path) if name.startswith("keynet.")]
        assert all(name.startswith(allowed) for name in foreign), name_of(path)


def test_the_installed_version_is_the_one_in_the_source() -> None:
    assert importlib.metadata.version("keynet") == keynet.__version__


def test_the_changelog_begins_with_what_is_unreleased_or_this_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings
    assert headings[0] in ("Unreleased", keynet.__version__)


def test_the_drawing_is_one_and_short() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    assert text.count("\n") <= 150
