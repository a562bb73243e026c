"""Services are imported by name, and what is wrong is said in one line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keynet.config import ServiceObject
from keynet.errors import ConfigError
from keynet.node.loading import load_service

MODULES = {
    "good_service": """
from keynet.rpc.service import Service
greeter = Service("greeter")
class place:
    inner = greeter
number = 5
""",
    "needs_more": "import no_such_thing.at_all\n",
    "breaks": "raise RuntimeError('it is\\nbroken')\n",
    "leaves": "raise SystemExit(3)\n",
    "wrong_service": "from keynet.rpc.service import Service\nService('Not A Name')\n",
}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["greeter", "place.inner"])
def test_a_service_by_name(name: str) -> None:
    assert load_service(ServiceObject("good_service", name)).name == "greeter"


@pytest.mark.parametrize(
    ("module", "name", "complaint"),
    [
        ("no_module", "x", "there is no module no_module for no_module:x: run keynet in its"),
        ("no_package.inside", "x", "there is no module no_package for no_package.inside:x"),
        ("needs_more", "x", "needs_more imports no_such_thing, which is not installed"),
        ("breaks", "x", "breaks cannot be imported: RuntimeError: it is"),
        ("leaves", "x", "leaves cannot be imported: SystemExit: 3"),
        ("wrong_service", "x", "wrong_service:x: a service is named in lower-case"),
        ("good_service", "x", "module good_service has no x"),
        ("good_service", "number", "is no keynet.rpc.service.Service but a int"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(module: str, name: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_service(ServiceObject(module, name))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
