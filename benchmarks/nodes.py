"""The middle of the whole path: two `keynet run` processes, one beside the client, one beside the
server, as a user would start them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.network import Network
from benchmarks.process import Process
from benchmarks.session import START_TIMEOUT, Between
from benchmarks.stream import Address

KEYNET = str(Path(sys.executable).with_name("keynet"))
TOKEN = "benchmark-token"
SERVICE = 7000


@contextmanager
def nodes(network: Network, address: Address) -> Iterator[Between]:
    """Start both nodes; the client is to CONNECT at the near one."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keynet-bench-")))
        near, far = directory / "near", directory / "far"
        near_id = _new_identity(near)
        target = f"{address['host']}:{address['port']}"
        far_node, far_said = _start(
            stack,
            "node B",
            network.server_prefix,
            *("--state", str(far), "--listen", f"{network.server_host}:0"),
            *("--expose", f"{SERVICE}={target}", "--allow", near_id),
        )
        far_id = far_said["node_id"]
        near_node, near_said = _start(
            stack,
            "node A",
            network.client_prefix,
            *("--state", str(near), "--listen", f"{network.client_host}:0"),
            *("--proxy", "127.0.0.1:0", "--proxy-token", TOKEN),
            *("--peer", f"{far_id}@{far_said['udp'][0]}"),
        )
        yield Between(_through(near_said["proxy"], far_id), (near_node, far_node))


def _new_identity(state: Path) -> str:
    command = [KEYNET, "id", "new", "--state", str(state), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    node_id: str = json.loads(done.stdout)["node_id"]
    return node_id


def _start(
    stack: ExitStack, role: str, prefix: tuple[str, ...], *flags: str
) -> tuple[Process, dict[str, Any]]:
    process = stack.enter_context(Process(role, [*prefix, KEYNET, "run", "--json", *flags]))
    return process, process.hear(START_TIMEOUT)


def _through(proxy: str, node_id: str) -> Address:
    host, _, port = proxy.rpartition(":")
    target = f"{node_id}.keynet:{SERVICE}"
    return {
        "host": host,
        "port": int(port),
        "target": target,
        "token": TOKEN,
        "http_proxy": f"http://keynet:{TOKEN}@{proxy}",
    }
