"""`keynet id new|show|rotate`: the node's identity on disk. Does not talk to a running node.

Faults are raised as KeynetError, and told by the `keynet` command.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from keynet.errors import ConfigError
from keynet.identity import Identity, IdentityStore
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
    _show(identity, directory, as_json)


@app.command()
def show(
    state: State = None, passphrase_file: PassphraseFile = None, as_json: Json = False
) -> None:
    """Show the node id, the ids that it had before, and when its certificate expires."""
    directory = state_dir(state)
    identity = IdentityStore(directory).load(read_passphrase(passphrase_file))
    _show(identity, directory, as_json)


@app.command()
def rotate(
    state: State = None, passphrase_file: PassphraseFile = None, as_json: Json = False
) -> None:
    """Give the node a new key, and so a new id; the ids before it go on reaching it."""
    directory = state_dir(state)
    passphrase = read_passphrase(passphrase_file)
    with StateLock(directory):
        identity = IdentityStore(directory).rotate(passphrase)
    _show(identity, directory, as_json)


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


def _show(identity: Identity, directory: Path, as_json: bool) -> None:
    facts = {
        "node_id": str(identity.node_id),
        "lineage": [str(node_id) for node_id in identity.lineage],
        "expires_at": identity.expires_at.isoformat(),
        "renewal_at": identity.renewal_at.isoformat(),
        "state": str(directory),
    }
    if as_json:
        typer.echo(json.dumps(facts))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{identity.node_id}[/bold]")
    for node_id in identity.lineage[1:]:
        console.print(f"  before      {node_id}")
    console.print(f"  expires     {identity.expires_at:%Y-%m-%d}, renewed before that by itself")
    console.print(f"  kept in     {directory}", markup=False)
