"""What every test gets: a place of its own on disk, and a check that it leaves nothing running.

No fixture with something of keynet in it lives here; those stand beside the tests that use them.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

FOREIGN_VARIABLES = (
    *("http_proxy", "https_proxy", "grpc_proxy", "no_proxy", "no_grpc_proxy", "all_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("KEYNET_PASSPHRASE", "KEYNET_CONFIG"),
)
"""Set on a developer's machine, they would change what is tested."""


@pytest.fixture(autouse=True, scope="session")
def isolated_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep stevedore's entry-point cache and the default state out of the developer's home."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
            patch.setenv(variable, str(home / variable.lower()))
        for variable in FOREIGN_VARIABLES:
            patch.delenv(variable, raising=False)
        yield


@pytest.fixture(autouse=True)
def isolated_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give each test a state directory of its own, not yet made."""
    directory = tmp_path_factory.getbasetemp() / f"state-{os.urandom(6).hex()}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEYNET_STATE", str(directory))
        yield directory


def open_sockets() -> set[str]:
    """The sockets that this process holds, as the kernel names them; empty where it does not."""
    try:
        descriptors = os.listdir("/proc/self/fd")
    except FileNotFoundError:
        return set()
    names = set()
    for descriptor in descriptors:
        path = f"/proc/self/fd/{descriptor}"
        try:
            if stat.S_ISSOCK(os.stat(path).st_mode):
                names.add(os.readlink(path))
        except OSError:  # the descriptor of the listing itself
            continue
    return names


@pytest.fixture(autouse=True)
def no_leaked_sockets(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a socket open. Mark it `may_leak_sockets` where a library does."""
    before = open_sockets()
    yield
    if request.node.get_closest_marker("may_leak_sockets") or not open_sockets() - before:
        return
    gc.collect()
    leaked = open_sockets() - before
    assert not leaked, f"sockets left open: {sorted(leaked)}"


@pytest.fixture
async def no_leaked_tasks() -> AsyncIterator[None]:
    """Fail an asynchronous test that leaves a task running after all its fixtures are gone."""
    before = asyncio.all_tasks()
    yield
    for _ in range(10):  # let what was cancelled finish
        if not asyncio.all_tasks() - before - {asyncio.current_task()}:
            return
        await asyncio.sleep(0)
    leaked = asyncio.all_tasks() - before - {asyncio.current_task()}
    names = sorted(repr(task.get_coro()) for task in leaked)
    for task in leaked:
        task.cancel()
    pytest.fail(f"tasks left running: {names}")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Put the task check first, so that it is undone last."""
    if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.function):
        item.fixturenames.insert(0, "no_leaked_tasks")
