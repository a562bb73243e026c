"""What keynet wants to reach: absolute figures for a 2-core machine, and ratios for any."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks import rpc
from benchmarks.lossy import MODEL
from benchmarks.runner import Results
from benchmarks.scenarios import (
    BARE,
    GRPC,
    GRPC_WHOLE,
    NO_OFFLOAD,
    QUIC,
    SCENARIOS,
    SECURE,
    TLS,
    WHOLE,
)

RATE, MEDIAN_US, P99_US, MEDIAN_MS = "rate_mb_per_s", "median_us", "p99_us", "median_ms"


@dataclass(frozen=True, slots=True)
class Target:
    """A figure, or with `over` the ratio of two figures of the same run."""

    title: str
    scenario: str
    network: str
    subject: str
    metric: str
    at_least: float | None
    """The goal: a floor for rates and their ratios, a ceiling for times and memory."""
    stretch: float | None = None
    unit: str = ""
    over: str | None = None
    divisor: float = 1.0

    def measured(self, results: Results) -> float | None:
        """The figure or the ratio; None when a part of it was not measured."""
        value = results.median(self.scenario, self.network, self.subject, self.metric)
        if value is None or self.over is None:
            return None if value is None else value / self.divisor
        base = results.median(self.scenario, self.network, self.over, self.metric)
        return value / base if base else None

    @property
    def is_floor(self) -> bool:
        return self.metric == RATE

    def verdict(self, measured: float) -> str:
        """`stretch`, `met`, `missed`, or nothing where there is no goal."""
        if self.at_least is None:
            return ""
        if self.stretch is not None and self._reaches(measured, self.stretch):
            return "stretch"
        return "met" if self._reaches(measured, self.at_least) else "missed"

    def _reaches(self, measured: float, goal: float) -> bool:
        return measured >= goal if self.is_floor else measured <= goal


def _ratio(scenario: str, network: str, subject: str, over: str, metric: str) -> Target:
    return Target(f"{subject} / {over}", scenario, network, subject, metric, None, over=over)


def _ratios() -> list[Target]:
    found = [
        Target(f"{SECURE} / {QUIC}", "bulk", "veth", SECURE, RATE, 15.0, over=QUIC),
        _ratio("bulk", "veth", SECURE, TLS, RATE),
        _ratio("bulk", "veth", WHOLE, TLS, RATE),
        _ratio("bulk", "veth", BARE, SECURE, RATE),
        _ratio("bulk", "loopback", SECURE, QUIC, RATE),
        _ratio("bulk", "loopback", SECURE, TLS, RATE),
        _ratio("bulk", "loopback", WHOLE, TLS, RATE),
        _ratio("lossy", "veth", SECURE, QUIC, RATE),
    ]
    for network in ("veth", "loopback"):
        found += [
            _ratio("round-trip", network, SECURE, QUIC, MEDIAN_US),
            _ratio("round-trip", network, SECURE, TLS, MEDIAN_US),
            _ratio("set-up", network, SECURE, QUIC, MEDIAN_MS),
            _ratio("set-up", network, SECURE, TLS, MEDIAN_MS),
            Target(
                f"{GRPC_WHOLE} / {GRPC}",
                *("unary", network, GRPC_WHOLE, MEDIAN_US),
                *(1.5, 1.3),
                over=GRPC,
            ),
        ]
    return found


def _rpc_ratios() -> list[Target]:
    metrics = {"rpc_unary": MEDIAN_US, "rpc_concurrent": "calls_per_s"}
    return [
        _ratio(scenario.name, network, name, rpc.DIRECT, metrics.get(scenario.workload, RATE))
        for scenario in SCENARIOS
        if scenario.workload in rpc.WORKLOADS
        for network in scenario.networks
        for name in rpc.BINDINGS
    ]


RATIOS = (*_ratios(), *_rpc_ratios())


def _figures() -> list[Target]:
    rates = (
        ("uTP+TLS, one way", "veth", SECURE, 500, 650),
        ("uTP+TLS, one way, without GSO and GRO", "veth", NO_OFFLOAD, 180, 220),
        ("uTP+TLS, one way", "loopback", SECURE, 850, 1000),
        ("whole path, one way", "veth", WHOLE, 400, 500),
        ("whole path, one way", "loopback", WHOLE, 500, 650),
    )
    times = (
        ("uTP+TLS, 64 bytes, median", SECURE, MEDIAN_US, 200, 160),
        ("uTP+TLS, 64 bytes, p99", SECURE, P99_US, 350, None),
        ("whole path, 64 bytes, median", WHOLE, MEDIAN_US, 330, 290),
        ("whole path, 64 bytes, p99", WHOLE, P99_US, 550, None),
    )
    memory = (
        ("idle connection, dialling end", "client kb_each"),
        ("idle connection, listening end", "server kb_each"),
    )
    return [
        *(
            Target(t, "bulk", net, who, RATE, goal, more, "MB/s")
            for t, net, who, goal, more in rates
        ),
        *(
            Target(t, "round-trip", "loopback", who, metric, goal, more, "us")
            for t, who, metric, goal, more in times
        ),
        Target(
            "200 Mbit/s, 50 ms, 1 % loss: share of the link",
            *("lossy", "veth", SECURE, RATE, 0.75, 0.90),
            divisor=MODEL.payload_mb_per_s,
        ),
        Target("dial to first byte", "set-up", "loopback", WHOLE, MEDIAN_MS, 8, 5, "ms"),
        *(Target(t, "idle", "loopback", SECURE, metric, 60, 40, "kB") for t, metric in memory),
    ]


FIGURES = tuple(_figures())
