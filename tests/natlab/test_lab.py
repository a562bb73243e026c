"""The lab itself: what it is like inside, and that nothing of it stays, whatever ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.natlab.lab import Lab, LabError, home, nat
from tests.natlab.lab.namespaces import ours, remove_stale
from tests.natlab.probing import Reflector, ask, probe, spawn_ready

pytestmark = pytest.mark.natlab

ROOT = Path(__file__).parents[2]


def made_by(pid: int) -> list[str]:
    return [name for name in ours() if name.startswith(f"keynet-lab-{pid}-")]


@contextmanager
def another_run() -> Iterator[subprocess.Popen[str]]:
    """A lab of a process of its own, with a host, a NAT and a wire in user space."""
    with subprocess.Popen(
        [sys.executable, str(ROOT / "tests/natlab/probes/hold_lab.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as run:
        assert run.stdout is not None
        try:
            assert run.stdout.readline() == "ready\n"
            yield run
        finally:
            run.kill()


def helpers_of(pid: int) -> set[int]:
    """The children of a process."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child) for child in listed}


def gone(pids: set[int]) -> bool:
    end = time.monotonic() + 5
    while any(Path(f"/proc/{pid}/stat").exists() for pid in pids) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(Path(f"/proc/{pid}/stat").exists() for pid in pids)


def test_nothing_leads_out(lab: Lab) -> None:
    host = lab.host()
    assert lab.exec(host, ["ip", "-o", "link"]).stdout.count("\n") == 2, "more than lo and net"
    internet = lab.open().namespace
    routes = lab.exec(host, ["ip", "-n", internet.name, "route"]).stdout
    assert "default" not in routes


def test_hosts_reach_each_other_by_both_families(lab: Lab) -> None:
    reflector, host = Reflector.start(lab), lab.host()
    for address in (reflector.host.ipv4, reflector.host.ipv6):
        assert None not in ask(lab, host, probe("ping", address, 3478, 3, 0.01))["times"]


def test_two_hosts_in_one_home_share_its_lan_and_its_address(lab: Lab) -> None:
    reflector = Reflector.start(lab)
    shared = lab.home(nat("port-restricted"))
    a, b = lab.host(behind=shared), lab.host(behind=shared)
    assert (str(a.ipv4), str(b.ipv4)) == ("192.168.1.2", "192.168.1.3")
    spawn_ready(lab, b, probe("reflector", b.ipv4, "127.0.0.1", 7001, 7002))
    assert ask(lab, a, probe("ping", b.ipv4, 7001, 1, 0))["seen"][0] == str(a.ipv4)
    seen = {ask(lab, host, probe("ping", reflector.host.ipv4, 3478, 1, 0))["seen"][0]
            for host in (a, b)}  # fmt: skip
    assert seen == {str(shared.wan.addresses.ipv4)}


def test_two_homes_behind_one_carrier(lab: Lab) -> None:
    reflector = Reflector.start(lab)
    carrier = lab.home(nat("carrier"))
    hosts = [lab.host(behind=lab.home(nat("port-restricted"), behind=carrier)) for _ in range(2)]
    for host in hosts:
        seen = ask(lab, host, probe("ping", reflector.host.ipv4, 3478, 1, 0))["seen"]
        assert seen[0] == str(carrier.wan.addresses.ipv4)


def test_where_udp_is_blocked_tcp_to_443_leaves(lab: Lab) -> None:
    server = lab.host()
    for port in (443, 8443):
        lab.spawn(server, ["python3", "-m", "http.server", str(port)])
        assert ask(lab, server, probe("tcp", server.ipv4, port, 10))["connected"]
    host = lab.host(behind=nat("udp-blocked"))
    assert ask(lab, host, probe("tcp", server.ipv4, 443, 5))["connected"]
    assert not ask(lab, host, probe("tcp", server.ipv4, 8443, 0.5))["connected"]


def test_a_user_space_nat_leaves_tcp_to_the_kernel(lab: Lab) -> None:
    server, host = lab.host(), lab.host(behind=nat("full-cone"))
    lab.spawn(server, ["python3", "-m", "http.server", "80"])
    assert ask(lab, host, probe("tcp", server.ipv4, 80, 10))["connected"]


def test_a_command_that_fails_says_why(lab: Lab) -> None:
    with pytest.raises(LabError, match="No such file"):
        lab.exec(lab.host(), ["ls", "/nowhere"])


def test_a_failure_while_building_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home, "ruleset", lambda nat, lan: "nonsense")
    with pytest.raises(LabError, match="syntax error"), Lab(round_trip=0.04) as lab:
        lab.host(behind=nat("full-cone"))
    assert made_by(os.getpid()) == []


def test_closing_twice_and_never_opening() -> None:
    lab = Lab()
    lab.close()
    lab.host()
    lab.close()
    lab.close()
    assert made_by(os.getpid()) == []


def test_runs_beside_each_other_do_not_meet(lab: Lab) -> None:
    with another_run() as run:
        remove_stale()
        assert len(made_by(run.pid)) == 3
        lab.host()
        assert run.stdin is not None
        run.stdin.close()
        assert run.wait(20) == 0
        assert made_by(run.pid) == []
    assert len(made_by(os.getpid())) == 2


def test_an_interrupt_from_the_keyboard_leaves_nothing() -> None:
    with another_run() as run:
        helpers = helpers_of(run.pid)
        run.send_signal(signal.SIGINT)
        assert run.wait(20) != 0
        assert made_by(run.pid) == []
        assert gone(helpers)


def test_what_a_killed_run_left_is_removed_by_the_next() -> None:
    with another_run() as run:
        helpers = helpers_of(run.pid)
        assert len(helpers) == 3, "a wire, a NAT and what was spawned"
        run.kill()
        run.wait()
    assert len(made_by(run.pid)) == 3
    with Lab() as lab:
        lab.open()
        assert made_by(run.pid) == []
    assert gone(helpers)
