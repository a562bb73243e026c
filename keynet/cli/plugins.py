"""`keynet plugins`: what is installed for each layer, from where, and what is wrong with it."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from keynet.plugins import GROUPS, Plugin, available


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List each layer's implementations, where they come from and what is wrong with them."""
    found = {group: available(group) for group in GROUPS}
    if as_json:
        plain = {group: [dataclasses.asdict(one) for one in all_] for group, all_ in found.items()}
        typer.echo(json.dumps(plain, ensure_ascii=False))
        return
    Console(highlight=False, soft_wrap=True).print(_table(found))


def _table(found: dict[str, list[Plugin]]) -> Table:
    table = Table()
    for column in ("layer", "name", "from", "factory", "state"):
        table.add_column(column, overflow="fold")
    for group, plugins in found.items():
        layer = group.rpartition(".")[2]
        if not plugins:
            table.add_row(layer, "[dim]none[/dim]")
        for one in plugins:
            state = "[green]loads[/green]" if one.error is None else f"[red]{one.error}[/red]"
            table.add_row(layer, f"[bold]{one.name}[/bold]", one.origin, one.target, state)
    return table
