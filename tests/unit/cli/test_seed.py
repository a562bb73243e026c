"""`keynet seed`: its settings; seeds as processes are in tests/e2e."""

from __future__ import annotations

from pathlib import Path

import pytest

from keynet.address import SocketAddress
from keynet.config import Config

from .conftest import Keynet


@pytest.fixture(autouse=True)
def no_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the log of the tests' own process as it is."""
    monkeypatch.setattr("keynet.cli.seed.set_up_logging", lambda *_, **__: None)


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        ([], "give --listen HOST:PORT"),
        (["--listen", "127.0.0.1:0", "--alternate", "127.0.0.1:9"], "another IP address"),
        (["--listen", "0.0.0.0:0", "--alternate", "127.0.0.2:9"], "which is all of them"),
        (["--listen", "127.0.0.1:0", "--alternate", "[::1]:9"], "of its family"),
        (["--listen", "127.0.0.1:0", "--alternate", "seed.example:9"], "--alternate"),
    ],
)
def test_settings_that_make_no_seed(keynet: Keynet, args: list[str], complaint: str) -> None:
    status, out, err = keynet("seed", *args)
    assert (status, out) == (2, "")
    assert complaint in err
    assert err.count("\n") == 1


def test_flags_and_file_make_one_configuration(
    keynet: Keynet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Config] = []

    async def run_node(config: Config) -> None:
        given.append(config)

    monkeypatch.setattr("keynet.cli.seed.run_node", run_node)
    file = tmp_path / "seed.toml"
    file.write_text('listen = ["127.0.0.1:7"]\ngrace = 2\n')
    args = ("--config", str(file), "--alternate", "127.0.0.2:8", "--json")
    assert keynet("seed", *args).status == 0
    (config,) = given
    assert (config.seeding, config.json, config.grace) == (True, True, 2.0)
    assert config.listen == (SocketAddress("127.0.0.1", 7),)
    assert config.alternate == SocketAddress("127.0.0.2", 8)
