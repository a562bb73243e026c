"""`python -m benchmarks`: see --help."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import report
from benchmarks.network import NETWORKS
from benchmarks.runner import Plan, run
from benchmarks.scenarios import SCENARIOS

WIDTH = 120
"""Columns, where no terminal says how many it has."""

NAMES = ", ".join(scenario.name for scenario in SCENARIOS)


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"Only this scenario: {NAMES}.")] = None,
    subject: Annotated[list[str] | None, typer.Option(help="Only this row, as 'utp+tls'.")] = None,
    network: Annotated[
        list[str] | None, typer.Option(help=f"Only on this network: {', '.join(NETWORKS)}.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Interleaved repeats.")] = 3,
    quick: Annotated[bool, typer.Option(help="Short workloads, one repeat.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write everything to this file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables to this file.")] = None,
) -> None:
    """Measure keynet beside its foreign peers, on this machine, in one run."""
    unknown = {*(only or [])} - {s.name for s in SCENARIOS} | {*(network or [])} - {*NETWORKS}
    if unknown:
        raise typer.BadParameter(f"no such scenario or network: {', '.join(sorted(unknown))}")
    plan = Plan(
        scenarios=[s for s in SCENARIOS if not only or s.name in only],
        networks=[n for n in NETWORKS if not network or n in network],
        subjects=subject or (),
        repeats=1 if quick else repeats,
        quick=quick,
    )
    bar = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*bar, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("starting", total=sum(1 for _ in plan.steps()))

        def before_step(what: str) -> None:
            progress.update(task, description=what)
            progress.advance(task)

        results = run(plan, before_step)
    report.show(results, Console(width=None if sys.stdout.isatty() else WIDTH))
    if json is not None:
        report.write_json(results, json)
    if markdown is not None:
        markdown.write_text(report.as_markdown(results), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
