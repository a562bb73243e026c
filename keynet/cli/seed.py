"""`keynet seed`: a node that brings others together, in the foreground. Wiring of flags only."""

from __future__ import annotations

from typing import Annotated

import typer

from keynet.cli import loop
from keynet.cli.logs import set_up_logging
from keynet.cli.run import (
    ConfigFile,
    Deny,
    Json,
    Listen,
    LogJson,
    LogLevel,
    PassphraseFile,
    State,
    run_node,
)
from keynet.config import read
from keynet.errors import ConfigError

Alternate = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="A second IP address and port of this machine, by which keynet doctor sees how NATs "
        "behave.",
    ),
]


def command(
    config: ConfigFile = None,
    listen: Listen = None,
    alternate: Alternate = None,
    deny: Deny = None,
    state: State = None,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
    log_level: LogLevel = None,
    log_json: LogJson = False,
) -> None:
    """Run a seed: nodes register there, are found there by id, and meet through it.

    It reads nothing of what it carries, and keeps all in memory. Put it where everybody reaches
    its UDP port. Closes in order, with status 0, on SIGINT and SIGTERM.
    """
    flags = {name: value for name, value in locals().items() if name != "config"}
    settings = read(config, flags | {"seeding": True})
    if not settings.listen:
        raise ConfigError("a seed is found where it always is: give --listen HOST:PORT")
    set_up_logging(settings.log_level, as_json=settings.log_json)
    loop.run(run_node(settings))
