"""The commands that change a running node's tables: one Typer application for each table.

What a table is, and how its entries are written, is `keynet.control.changes`'s. Annotations are
evaluated here where they stand: those of the commands tell of the table's own words.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from keynet.config.values import ANY
from keynet.control import call
from keynet.state import state_dir

State = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="State directory of the node (else $KEYNET_STATE)."),
]


@dataclass(frozen=True, slots=True)
class Words:
    """How one table's commands explain themselves."""

    verb: str
    entry: str
    """How an entry is written."""
    key: str
    """What names an entry that is to go."""
    about: str
    adding: str
    removing: str
    listing: str


def table_app(words: Words) -> typer.Typer:
    """`keynet VERB add|remove|list`."""
    app = typer.Typer(help=words.about, no_args_is_help=True)

    @app.command(help=f"{words.adding} Lasts until the node stops.")
    def add(
        entry: Annotated[str, typer.Argument(metavar=words.entry)], state: State = None
    ) -> None:
        _changed(words, call(state_dir(state), words.verb, action="add", value=entry))

    @app.command(help=f"{words.removing} Lasts until the node stops.")
    def remove(
        entry: Annotated[str, typer.Argument(metavar=words.key)], state: State = None
    ) -> None:
        _changed(words, call(state_dir(state), words.verb, action="remove", value=entry))

    @app.command("list", help=words.listing)
    def list_(
        state: State = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
    ) -> None:
        entries = call(state_dir(state), words.verb, action="list")
        if as_json:
            typer.echo(json.dumps(entries, ensure_ascii=False))
        else:
            typer.echo("\n".join(entries) or "none")

    return app


def _changed(words: Words, entries: list[str]) -> None:
    """Show the table, and how it would stay so; that is no output to be parsed, but a hint."""
    typer.echo("\n".join(entries) or "none")
    print(
        f"keynet: this lasts until the node stops; to keep it, let the file of keynet run "
        f"--config say: {_setting(words.verb, entries)}",
        file=sys.stderr,
    )


def _setting(verb: str, entries: list[str]) -> str:
    """The line of the configuration file."""
    value = ANY if ANY in entries else entries
    return f"{verb} = {json.dumps(value)}"
