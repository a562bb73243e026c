"""Runs scenarios: every subject once, then every subject again, so that drift hits all alike."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.network import NETWORKS, Network, NetworkUnavailable
from benchmarks.process import WorkerFailed
from benchmarks.scenarios import Scenario, Subject
from benchmarks.session import session
from benchmarks.workloads import Values


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What a figure belongs to."""

    scenario: str
    network: str
    subject: str


@dataclass(slots=True)
class Results:
    """Every value of every repeat, and what could not be run."""

    values: dict[Key, list[Values]] = field(default_factory=lambda: defaultdict(list))
    skipped: dict[str, str] = field(default_factory=dict)
    """From what was left out to the reason."""

    def median(self, scenario: str, network: str, subject: str, metric: str) -> float | None:
        """Over the repeats; None when it was not measured."""
        runs = self.values.get(Key(scenario, network, subject), [])
        found = [run[metric] for run in runs if metric in run]
        return statistics.median(found) if found else None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run."""

    scenarios: Sequence[Scenario]
    networks: Sequence[str]
    subjects: Sequence[str]
    """Only these, when any is named."""
    repeats: int
    quick: bool

    def steps(self) -> Iterator[tuple[str, Scenario, Subject]]:
        """In the order of running, network by network."""
        for network in self.networks:
            for scenario in self.scenarios:
                if network in scenario.networks:
                    for _ in range(self.repeats):
                        for subject in scenario.subjects:
                            if not self.subjects or subject.label in self.subjects:
                                yield network, scenario, subject


def run(plan: Plan, before_step: Callable[[str], None]) -> Results:
    """Run the whole plan. What fails is noted in `skipped` and not tried again."""
    results = Results()
    for name in plan.networks:
        try:
            with NETWORKS[name]() as network:
                for step_network, scenario, subject in plan.steps():
                    if step_network == name:
                        before_step(f"{name}: {scenario.name}, {subject.label}")
                        _step(results, plan, name, network, scenario, subject)
        except NetworkUnavailable as error:
            results.skipped[name] = str(error)
    return results


def _step(
    results: Results,
    plan: Plan,
    name: str,
    network: Network,
    scenario: Scenario,
    subject: Subject,
) -> None:
    what = f"{name}: {scenario.name}, {subject.label}"
    if what in results.skipped:
        return
    arguments = scenario.arguments | (scenario.quick if plan.quick else {})
    try:
        with session(network, subject.peer, subject.middle) as running:
            values = running.run(scenario.workload, **arguments)
    except (WorkerFailed, OSError) as error:
        results.skipped[what] = f"{type(error).__name__}: {error}"
        return
    results.values[Key(scenario.name, name, subject.label)].append(values)
