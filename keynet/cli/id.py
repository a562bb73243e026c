"""`keynet id new|show|rotate`: the node's identity on disk. A running node rotates its own.

Faults are raised as KeynetError, and told by the `keynet` command.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console

from keynet.errors import ConfigError, ConnectError, StateInUse
from keynet.identity import IdentityStore
from keynet.state import StateLock, state_dir

PASSPHRASE_ENVIRONMENT = "KEYNET_PASSPHRASE"

app = typer.Typer(
    name="id", help="Make, show and rotate this node's identity.", no_args_is_help=True
)

State = Annotated[
    Path | None,
    typer.Option("--state", metavar="DIR", help="State directory (else $KEYNET_STATE)."),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="File whose first line unlocks the keys (else $KEYNET_PASSPHRASE).",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def new(state: State = None, passphrase_file: PassphraseFile = None, as_json: Json = False) -> None:
    """Make a new identity; refuses to replace one."""
    directory = state_dir(state)
    passphrase = read_passphrase(passphrase_file)
    with StateLock(directory):
        identity = IdentityStore(directory).create(passphrase)
    _show(identity.facts(), directory, as_json)


@app.command()
def show(
    state: State = None, passphrase_file: PassphraseFile = None, as_json: Json = False
) -> None:
    """Show the node id, the ids that it had before, and when its certificate expires."""
    directory = state_dir(state)
    identity = IdentityStore(directory).load(read_passphrase(passphrase_file))
    _show(identity.facts(), directory, as_json)


@app.command()
def rotate(
    state: State = None, passphrase_file: PassphraseFile = None, as_json: Json = False
) -> None:
    """Give the node a new key, and so a new id; the ids before it go on reaching it.

    A node that runs with the state directory does it itself, and goes on under the new id.
    """
    directory = state_dir(state)
    passphrase = read_passphrase(passphrase_file)
    try:
        with StateLock(directory):
            facts = IdentityStore(directory).rotate(passphrase).facts()
    except StateInUse as in_use:
        facts = _rotate_running(directory, in_use)
    _show(facts, directory, as_json)


def _rotate_running(directory: Path, in_use: StateInUse) -> dict[str, Any]:
    """The node's facts after its rotation; raises `in_use` when what holds the lock is no node."""
    from keynet.control import call  # lazy: the other verbs do without

    try:
        return cast(dict[str, Any], call(directory, "rotate"))
    except ConnectError:
        raise in_use from None


def read_passphrase(file: Path | None) -> bytes | None:
    """The first line of `file`, else the environment's; None when neither is there.

    Raises ConfigError when the file cannot be read or its first line is empty.
    """
    if file is None:
        value = os.environ.get(PASSPHRASE_ENVIRONMENT)
        return value.encode() if value else None
    try:
        with file.open("rb") as lines:
            first = lines.readline().rstrip(b"\r\n")
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    if not first:
        raise ConfigError(f"{file} holds no passphrase on its first line")
    return first


def _show(facts: dict[str, Any], directory: Path, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**facts, "state": str(directory)}))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{facts['node_id']}[/bold]")
    for node_id in facts["lineage"][1:]:
        console.print(f"  before      {node_id}")
    console.print(f"  expires     {facts['expires_at'][:10]}, renewed before that by itself")
    console.print(f"  kept in     {directory}", markup=False)
