"""Where the two ends stand: loopback, or two network namespaces joined by a veth pair."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Network:
    """Two places, and how to start a process in each."""

    name: str
    client_host: str
    server_host: str
    client_prefix: tuple[str, ...] = ()
    """Put before a command, it makes the command run at the client's place."""
    server_prefix: tuple[str, ...] = ()


class NetworkUnavailable(Exception):
    """This machine or user may not make the network; the message says what is missing."""


LOOPBACK = Network("loopback", "127.0.0.1", "127.0.0.1")
VETH_MTU = 1500
CLIENT_HOST, SERVER_HOST = "11.7.1.1", "11.7.2.1"
"""Addresses that look like the internet's; they exist in the namespaces only."""


@contextmanager
def loopback() -> Iterator[Network]:
    """Everything on 127.0.0.1, whose MTU is 65,536."""
    yield LOOPBACK


@contextmanager
def namespaces() -> Iterator[Network]:
    """Two new namespaces with a veth pair of MTU 1500; both are gone afterwards."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        raise NetworkUnavailable("network namespaces need root and the `ip` command")
    client, server = f"keynet-c{os.getpid()}", f"keynet-s{os.getpid()}"
    try:
        _build(client, server)
        yield Network(
            f"veth, MTU {VETH_MTU}",
            CLIENT_HOST,
            SERVER_HOST,
            ("ip", "netns", "exec", client),
            ("ip", "netns", "exec", server),
        )
    finally:
        for name in (client, server):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _build(client: str, server: str) -> None:
    for name in (client, server):
        _ip("netns", "add", name)
        _ip("-n", name, "link", "set", "lo", "up")
    _ip(
        "-n", client, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", server
    )
    ends = ((client, CLIENT_HOST, SERVER_HOST), (server, SERVER_HOST, CLIENT_HOST))
    for name, own, _ in ends:
        _ip("-n", name, "address", "add", f"{own}/24", "dev", "wire")
        _ip("-n", name, "link", "set", "wire", "mtu", str(VETH_MTU), "up")
    for name, _, other in ends:
        _ip("-n", name, "route", "add", f"{other}/32", "dev", "wire")


def _ip(*arguments: str) -> None:
    command: Sequence[str] = ("ip", *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NetworkUnavailable(f"{' '.join(command)}: {done.stderr.strip()}")


NETWORKS = {"veth": namespaces, "loopback": loopback}
