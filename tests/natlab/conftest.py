"""The lab and keynet's command in it as fixtures; why all is skipped where no lab can be built."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Process
from tests.natlab.lab import Host, Lab, obstacle
from tests.natlab.members import ROUND_TRIP, Crowd

StartKeynet = Callable[..., Process]


@pytest.fixture(scope="session")
def why_not() -> str | None:
    """Why there can be no lab on this machine."""
    return obstacle()


@pytest.fixture(autouse=True)
def possible(request: pytest.FixtureRequest) -> None:
    """Skip what needs the lab where there can be none. The rest of this directory runs anywhere."""
    if request.node.get_closest_marker("natlab"):
        reason = request.getfixturevalue("why_not")
        if reason is not None:
            pytest.skip(reason)


@pytest.fixture
def lab(possible: None) -> Iterator[Lab]:
    """An empty lab without delays."""
    with Lab() as lab:
        yield lab


@pytest.fixture
def crowd(possible: None, tmp_path: Path) -> Iterator[Crowd]:
    """A lab for keynet's processes, and nobody in it yet."""
    with Lab(round_trip=ROUND_TRIP) as lab, Crowd(lab, tmp_path) as crowd:
        yield crowd


@pytest.fixture
def keynet() -> Iterator[StartKeynet]:
    """`keynet(host, "run", "--json")` starts the command in a host; it is killed in the end."""
    running: list[Process] = []

    def start(host: Host, *args: str | Path) -> Process:
        running.append(Process(*args, within=host.command([])))
        return running[-1]

    yield start
    for process in running:
        process.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What every pair of NATs came to, as a table: who dials down, who is dialled across."""
    reports = [one for some in terminalreporter.stats.values() for one in some]
    cells: dict[tuple[str, str], str] = {
        (a, b): result
        for report in reports
        for name, (a, b, result) in getattr(report, "user_properties", ())
        if name == "meeting"
    }
    if not cells:
        return
    rows, columns = (list(dict.fromkeys(pair[n] for pair in cells)) for n in (0, 1))
    wide = max(map(len, rows))
    terminalreporter.section("CONNECT to first byte, 40 ms apart, or its status (down: who dials)")
    terminalreporter.line(" " * wide + "".join(f"  {column:>8}" for column in columns))
    for row in rows:
        line = (f"  {cells.get((row, one), ''):>{max(8, len(one))}}" for one in columns)
        terminalreporter.line(f"{row:<{wide}}{''.join(line)}")
