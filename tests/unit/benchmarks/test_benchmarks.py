"""The parts of the benchmarks that could lie: what is checked, what counts as met, medians."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from benchmarks import report
from benchmarks.runner import Key, Plan, Results
from benchmarks.scenarios import QUIC, SCENARIOS, SECURE
from benchmarks.stream import Address, ByteStream, Handler
from benchmarks.targets import FIGURES, RATE, RATIOS, Target
from benchmarks.workloads import WORKLOADS, answer


class Pipe:
    """One end of a stream in memory. `damage` changes what is written."""

    def __init__(self, damage: bool = False) -> None:
        self.other: Pipe
        self._damage = damage
        self._arrived: asyncio.Queue[bytes] = asyncio.Queue()

    async def read(self) -> bytes:
        return await self._arrived.get()

    async def write(self, data: bytes) -> None:
        if self._damage and len(data) > 1000:
            data = data[:-1] + bytes([data[-1] ^ 1])
        await self.other._arrived.put(data)

    async def close(self) -> None:
        await self.other._arrived.put(b"")


class PipePeer:
    """Dials a server in memory."""

    def __init__(self, damage: bool = False) -> None:
        self._damage = damage
        self._served: list[asyncio.Task[None]] = []

    async def serve(self, host: str, handler: Handler) -> Address:
        raise NotImplementedError

    async def dial(self, address: Address) -> ByteStream:
        near, far = Pipe(self._damage), Pipe()
        near.other, far.other = far, near
        self._served.append(asyncio.create_task(answer(far)))
        return near

    async def close(self) -> None:
        for task in self._served:
            task.cancel()
        await asyncio.gather(*self._served, return_exceptions=True)


async def run(workload: str, damage: bool = False, **arguments: Any) -> dict[str, float]:
    marks: list[str] = []

    async def mark(name: str) -> None:
        marks.append(name)

    peer = PipePeer(damage)
    try:
        values = await WORKLOADS[workload](peer, {}, mark, **arguments)
    finally:
        await peer.close()
    assert marks in ([], ["begin", "end"])
    return dict(values)


async def test_bulk_counts_what_arrived() -> None:
    values = await run("bulk", seconds=0.01)
    assert values["bytes"] > 0
    assert values["rate_mb_per_s"] > 0


async def test_bulk_finds_a_flipped_bit() -> None:
    with pytest.raises(AssertionError, match="all right: False"):
        await run("bulk", damage=True, seconds=0.01)


@pytest.mark.parametrize("workload", ["round_trip", "set_up", "idle"])
async def test_the_other_workloads_end(workload: str) -> None:
    assert await run(workload, count=20)


def results(**rates: float) -> Results:
    found = Results()
    for subject, rate in rates.items():
        key = Key("bulk", "veth", {"secure": SECURE, "quic": QUIC}[subject])
        found.values[key] = [{RATE: rate * factor} for factor in (0.5, 1.0, 9.0)]
    return found


def test_a_figure_is_the_median_of_its_repeats() -> None:
    assert results(secure=600.0).median("bulk", "veth", SECURE, RATE) == 600.0
    assert results(secure=600.0).median("bulk", "loopback", SECURE, RATE) is None


def test_a_floor_and_a_ceiling_are_met_from_their_own_sides() -> None:
    floor = Target("t", "bulk", "veth", SECURE, RATE, 500, 650)
    assert [floor.verdict(x) for x in (499, 500, 650)] == ["missed", "met", "stretch"]
    ceiling = Target("t", "set-up", "veth", SECURE, "median_ms", 8, 5)
    assert [ceiling.verdict(x) for x in (9, 8, 5)] == ["missed", "met", "stretch"]


def test_a_ratio_needs_both_of_its_figures() -> None:
    ratio = next(target for target in RATIOS if target.at_least == 15.0)
    assert ratio.measured(results(secure=600.0, quic=30.0)) == 20.0
    assert ratio.measured(results(secure=600.0)) is None


def test_every_goal_names_what_some_scenario_measures() -> None:
    measured = {
        (scenario.name, network, subject.label)
        for scenario in SCENARIOS
        for network in scenario.networks
        for subject in scenario.subjects
    }
    for target in (*RATIOS, *FIGURES):
        assert (target.scenario, target.network, target.subject) in measured
        assert target.over is None or (target.scenario, target.network, target.over) in measured


def test_repeats_are_interleaved() -> None:
    (scenario,) = (one for one in SCENARIOS if one.name == "lossy")
    plan = Plan([scenario], ["veth"], (), repeats=2, quick=True)
    labels = [subject.label for _, _, subject in plan.steps()]
    assert labels == [SECURE, QUIC, SECURE, QUIC]


def test_the_report_shows_goals_and_what_was_left_out() -> None:
    found = results(secure=600.0, quic=30.0)
    found.skipped["veth"] = "no root"
    assert "| ≥ 15 |" in report.as_markdown(found)
    assert report.as_json(found)["left_out"] == {"veth": "no root"}
