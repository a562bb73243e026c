"""Shows results: ratios to the peers of the same run first, then the goals, then every median."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.runner import Results
from benchmarks.targets import FIGURES, RATIOS, Target
from benchmarks.workloads import Values

GOAL_COLUMNS = ("where", "measured", "at least", "stretch", "")
COMPARED = ("keynet", "aioquic", "grpcio", "cryptography", "pyopenssl")


def machine() -> dict[str, str]:
    """Where and with what the run was made."""
    said = {
        "when": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": str(len(os.sched_getaffinity(0))),
        "python": platform.python_version(),
    }
    for name in COMPARED:
        try:
            said[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            said[name] = "not installed"
    return said


def show(results: Results, console: Console) -> None:
    """Print the tables and what was left out."""
    console.print(", ".join(f"{name} {value}" for name, value in machine().items()))
    for title, targets in (("Ratios in this run", RATIOS), ("Goals, 2-core machine", FIGURES)):
        table = _goals(title, targets, results)
        if table.row_count:
            console.print(table)
    for scenario in dict.fromkeys(key.scenario for key in results.values):
        console.print(_medians(scenario, results))
    for what, reason in results.skipped.items():
        console.print(f"left out: {what}: {reason.strip()}", style="yellow", markup=False)


def _goals(title: str, targets: Iterable[Target], results: Results) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("what")
    table.add_column(GOAL_COLUMNS[0])
    for column in GOAL_COLUMNS[1:-1]:
        table.add_column(column, justify="right")
    table.add_column(GOAL_COLUMNS[-1])
    for target in targets:
        measured = target.measured(results)
        if measured is not None:
            table.add_row(*_goal_row(target, measured))
    return table


def _goal_row(target: Target, measured: float) -> tuple[str, ...]:
    sign = "" if target.at_least is None else ("≥ " if target.is_floor else "≤ ")
    return (
        target.title if not target.over else f"{target.scenario}: {target.title}",
        target.network,
        f"{_figure(measured)} {target.unit or ('x' if target.over else '')}",
        "" if target.at_least is None else f"{sign}{target.at_least:g}",
        "" if target.stretch is None else f"{sign}{target.stretch:g}",
        target.verdict(measured),
    )


def _medians(scenario: str, results: Results) -> Table:
    head, rows = _median_rows(scenario, results)
    table = Table(title=f"Medians: {scenario}", title_justify="left")
    for index, name in enumerate(head):
        table.add_column(name, no_wrap=index < 2, justify="left" if index < 2 else "right")
    for row in rows:
        table.add_row(*row)
    return table


def _median_rows(scenario: str, results: Results) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """A row for each subject and network, a column for each metric; the heading first."""
    runs_of = {key: runs for key, runs in results.values.items() if key.scenario == scenario}
    metrics = {name: None for runs in runs_of.values() for run in runs for name in run}
    shown = [name for name in metrics if name not in ("bytes", "count")]
    titles = (name.replace("_per_", "/").replace("_", " ") for name in shown)
    rows = [
        (key.subject, key.network, *(_median(runs, name) for name in shown))
        for key, runs in runs_of.items()
    ]
    return ("subject", "where", *titles), rows


def _median(runs: list[Values], name: str) -> str:
    found = [run[name] for run in runs if name in run]
    return _figure(statistics.median(found)) if found else ""


def _figure(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _as_json(target: Target, measured: float) -> dict[str, Any]:
    return {
        "what": target.title,
        "scenario": target.scenario,
        "network": target.network,
        "measured": measured,
        "unit": target.unit,
        "at_least": target.at_least,
        "stretch": target.stretch,
        "verdict": target.verdict(measured),
    }


def as_json(results: Results) -> dict[str, Any]:
    """Everything, with each repeat's own values."""

    def goals(targets: Iterable[Target]) -> list[dict[str, Any]]:
        pairs = ((target, target.measured(results)) for target in targets)
        return [_as_json(target, measured) for target, measured in pairs if measured is not None]

    return {
        "machine": machine(),
        "ratios": goals(RATIOS),
        "goals": goals(FIGURES),
        "runs": [
            {
                "scenario": key.scenario,
                "network": key.network,
                "subject": key.subject,
                "repeats": runs,
            }
            for key, runs in results.values.items()
        ],
        "left_out": results.skipped,
    }


def as_markdown(results: Results) -> str:
    """The same tables, as docs/benchmarks.md holds them."""
    parts = [", ".join(f"{name} {value}" for name, value in machine().items()), ""]
    for title, targets in (("Ratios", RATIOS), ("Goals", FIGURES)):
        found = [_goal_row(t, value) for t in targets if (value := t.measured(results)) is not None]
        parts += [*_markdown_table((title, *GOAL_COLUMNS), found), ""]
    for scenario in dict.fromkeys(key.scenario for key in results.values):
        head, rows = _median_rows(scenario, results)
        parts += [f"{scenario}:", "", *_markdown_table(head, rows), ""]
    return "\n".join(parts)


def _markdown_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def write_json(results: Results, path: Path) -> None:
    path.write_text(json.dumps(as_json(results), indent=1) + "\n", encoding="utf-8")
