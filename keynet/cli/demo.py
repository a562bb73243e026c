"""`keynet demo`: the main job on this machine, with real processes, told step by step.

Every figure that is told was measured or asked of the nodes in this run.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from keynet import plugins
from keynet.address import Authority, NodeId
from keynet.cli.demo_processes import Child, NodeChild
from keynet.cli.signals import before, stop_event
from keynet.control import RunningNode, call, running_node
from keynet.errors import ConfigError, DeadlineExceeded, KeynetError
from keynet.identity import Identity, IdentityStore
from keynet.rpc.grpc import aio_channel
from keynet.transport.api import GROUP

PORT = 50051
"""The service's port in the server's node; nothing listens on it locally."""
CALLS_TIMEOUT = 30.0
ROUND_TRIPS = 200
PROOFS = {"utp": "TLS 1.3", "quic": "TLS 1.3"}
"""What proves the ids, by transport."""


def command(
    transport: Annotated[
        str, typer.Option(metavar="NAME", help="What carries it; see keynet plugins.")
    ] = "utp",
    as_json: Annotated[bool, typer.Option("--json", help="Each step as a JSON object.")] = False,
) -> None:
    """Carry real gRPC calls between two nodes on this machine, and tell how.

    A grpcio server, a node in front of it, another node, and a grpcio client: four processes. The
    state is temporary and nothing is left behind.
    """
    _check_grpcio()
    plugins.load(GROUP, transport)  # before the first step
    if not asyncio.run(_until_signal(Narrator(as_json), transport)):
        raise typer.Exit(130)


def _check_grpcio() -> None:
    try:
        import grpc.aio  # noqa: F401
    except ImportError as error:
        raise ConfigError("the demo makes gRPC calls: pip install 'keynet[grpc]'") from error


async def _until_signal(narrator: Narrator, transport: str) -> bool:
    return await before(stop_event(), _demo(narrator, transport))


class Narrator:
    """Tells the steps: sentences for people, or objects with the same facts."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._console = Console(highlight=False, soft_wrap=True)
        self._started_at = time.monotonic()
        self._number = 0

    def step(self, name: str, title: str, *lines: str, **facts: Any) -> None:
        """One step: its title and details for people, its facts for programs."""
        elapsed = time.monotonic() - self._started_at
        if self._as_json:
            print(json.dumps({"step": name, "at_seconds": round(elapsed, 4), **facts}), flush=True)
            return
        self._number += 1
        self._console.print(f"\n[bold cyan]{self._number}[/bold cyan] [bold]{title}[/bold]")
        for line in lines:
            self._console.print(f"  {line}")

    def waiting(self, what: str) -> AbstractContextManager[object]:
        """A spinner on a terminal, for as long as something takes."""
        if self._as_json:
            return nullcontext()
        return self._console.status(f"[dim]{what}[/dim]")


async def _demo(narrator: Narrator, transport: str) -> None:
    async with AsyncExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="keynet-demo-")
        directory = Path(stack.enter_context(temporary))
        ids = _make_identities(narrator, directory)
        server = Child("the gRPC server", "keynet.cli.demo_service")
        with narrator.waiting("the gRPC server starts"):
            await stack.enter_async_context(server)
            port = int(await server.line())
        narrator.step(
            "server",
            "A grpcio server starts",
            f"process {server.pid}, on 127.0.0.1:{port}, plain HTTP/2, knowing nothing of keynet",
            process=server.pid,
            address=f"127.0.0.1:{port}",
        )
        behind = await _start_server_node(stack, narrator, directory, ids, port, transport)
        front = await _start_client_node(stack, narrator, directory, ids, behind, transport)
        await _use(narrator, ids, behind, front, port)
        await _end(narrator, [front, behind, server])


Ids = tuple[NodeId, NodeId]
"""The server's node and the client's."""


def _make_identities(narrator: Narrator, directory: Path) -> Ids:
    started_at = time.perf_counter()
    server, client = (_create(directory / name) for name in ("server", "client"))
    took = time.perf_counter() - started_at
    narrator.step(
        "identities",
        "Two nodes get their keys; a node's id is its Ed25519 public key",
        f"server's node  [bold]{server.node_id}[/bold]",
        f"client's node  [bold]{client.node_id}[/bold]",
        f"[dim]both made in {_ms(took)}, kept in {directory}[/dim]",
        server=str(server.node_id),
        client=str(client.node_id),
        seconds=took,
    )
    return server.node_id, client.node_id


def _create(state: Path) -> Identity:
    return IdentityStore(state).create()


async def _start_server_node(
    stack: AsyncExitStack,
    narrator: Narrator,
    directory: Path,
    ids: Ids,
    port: int,
    transport: str,
) -> NodeChild:
    flags = ["--listen", "127.0.0.1:0", "--transport", transport]
    flags += ["--expose", f"{PORT}=127.0.0.1:{port}", "--allow", f"{ids[1]}={PORT}"]
    node = NodeChild("the server's node", directory / "server", *flags)
    ready, took = await _start(stack, narrator, node)
    narrator.step(
        "server_node",
        "The server's node starts in front of it",
        f"process {node.pid}, UDP {ready['udp'][0]}, ready in {_ms(took)}",
        f"exposes port {PORT} → 127.0.0.1:{port}, and only to the client's node",
        process=node.pid,
        seconds=took,
        ready=ready,
    )
    return node


async def _start_client_node(
    stack: AsyncExitStack,
    narrator: Narrator,
    directory: Path,
    ids: Ids,
    behind: NodeChild,
    transport: str,
) -> NodeChild:
    address = (await _running(behind)).udp[0]
    flags = ["--listen", "127.0.0.1:0", "--transport", transport]
    flags += ["--proxy", "127.0.0.1:0", "--peer", f"{ids[0]}@{address}"]
    node = NodeChild("the client's node", directory / "client", *flags)
    ready, took = await _start(stack, narrator, node)
    narrator.step(
        "client_node",
        "The client's node starts",
        f"process {node.pid}, UDP {ready['udp'][0]}, ready in {_ms(took)}",
        f"forward proxy on {ready['proxy']}, with a token of its own",
        f"told of the server's node at {address}",
        process=node.pid,
        seconds=took,
        ready=ready,
    )
    return node


async def _start(
    stack: AsyncExitStack, narrator: Narrator, node: NodeChild
) -> tuple[dict[str, Any], float]:
    started_at = time.perf_counter()
    with narrator.waiting(f"{node.name} starts"):
        await stack.enter_async_context(node)
        ready = await node.event("ready")
    return ready, time.perf_counter() - started_at


async def _running(node: NodeChild) -> RunningNode:
    return await asyncio.to_thread(running_node, node.state)


async def _use(
    narrator: Narrator, ids: Ids, behind: NodeChild, front: NodeChild, port: int
) -> None:
    import grpc.aio  # lazy, as is what else needs it: told in one line when it is missing

    node = await _running(front)
    try:
        async with (
            asyncio.timeout(CALLS_TIMEOUT),
            aio_channel(node, ids[0], PORT) as channel,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as direct,
        ):
            started_at = time.perf_counter()
            await channel.channel_ready()
            await _tell_connection(narrator, ids, behind, front, time.perf_counter() - started_at)
            await _make_calls(narrator, channel)
            await _compare(narrator, channel, direct)
            await _tell_traffic(narrator, behind, front)
    except TimeoutError as error:
        raise DeadlineExceeded(f"the calls took more than {CALLS_TIMEOUT:g} s") from error
    except grpc.aio.AioRpcError as error:
        raise KeynetError(f"a call failed: {error.code().name} {error.details()}") from error


async def _tell_connection(
    narrator: Narrator, ids: Ids, behind: NodeChild, front: NodeChild, took: float
) -> None:
    dialed = await front.event("connection_opened")
    answered = await behind.event("connection_opened")
    if (dialed["peer"], answered["peer"]) != (str(ids[0]), str(ids[1])):
        raise KeynetError("the nodes proved other ids than they have")
    authority = Authority.of_node(ids[0], PORT)
    narrator.step(
        "connect",
        f"A grpcio client says CONNECT to the forward proxy, and has a channel in {_ms(took)}",
        f"CONNECT {authority} → 200, then HTTP/2 settings from the far server",
        f"[green]{dialed['transport']}[/green] dialled {dialed['remote']}; "
        f"connected and proved in {_ms(dialed['seconds'])}",
        f"[green]{PROOFS.get(dialed['transport'], 'proof')}[/green]: "
        f"the client's node saw  {dialed['peer']}",
        f"         the server's node saw  {answered['peer']}",
        "         each checked the other's certificate chain before any byte passed",
        authority=str(authority),
        seconds=took,
        dialed=dialed,
        answered=answered,
    )


async def _make_calls(narrator: Narrator, channel: Any) -> None:
    from keynet.cli import demo_service

    calls: list[dict[str, Any]] = []
    started_at = time.perf_counter()
    async for kind, asked, answer in demo_service.call_all(channel):
        took = time.perf_counter() - started_at
        calls.append({"kind": kind, "asked": asked, "answer": answer, "seconds": took})
        started_at = time.perf_counter()
    narrator.step(
        "calls",
        "All four kinds of call, over CONNECT → forward proxy → node → node → reverse proxy",
        *(
            f"{one['kind']:<17} {one['asked']:<20} → {escape(one['answer'])}  "
            f"[dim]{_ms(one['seconds'])}[/dim]"
            for one in calls
        ),
        calls=calls,
    )


async def _compare(narrator: Narrator, through: Any, direct: Any) -> None:
    from keynet.cli.demo_service import SERVICE

    method = f"/{SERVICE}/Greet"
    ours, theirs = await _median(through, method), await _median(direct, method)
    narrator.step(
        "round_trips",
        f"{ROUND_TRIPS} unary calls each, one after the other",
        f"through both nodes  {_ms(ours)} (median)",
        f"without keynet      {_ms(theirs)}: keynet takes {ours / theirs:.2f} times as long",
        through_seconds=ours,
        direct_seconds=theirs,
        ratio=ours / theirs,
    )


async def _median(channel: Any, method: str) -> float:
    call_greet = channel.unary_unary(method)
    times = []
    for _ in range(ROUND_TRIPS):
        started_at = time.perf_counter()
        await call_greet(b"again")
        times.append(time.perf_counter() - started_at)
    return sorted(times)[len(times) // 2]


async def _tell_traffic(narrator: Narrator, behind: NodeChild, front: NodeChild) -> None:
    status, audit = await asyncio.to_thread(_ask, behind.state, front.state)
    connection, tunnel = status["connections"][0], audit["from_peers"][0]
    stats = ", ".join(f"{name} {value}" for name, value in connection["stats"].items())
    narrator.step(
        "traffic",
        "What the nodes say of it",
        f"server's node: {tunnel['client']} is {tunnel['peer']} at {tunnel['remote']}, service "
        f"{tunnel['service']}, {tunnel['bytes_from_peer']} bytes in, "
        f"{tunnel['bytes_to_peer']} out",
        f"client's node: {connection['transport']}: {stats}",
        connection=connection,
        tunnel={name: value for name, value in tunnel.items() if name != "certificates"},
    )


def _ask(behind: Path, front: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    return call(front, "status"), call(behind, "audit")


async def _end(narrator: Narrator, children: list[Child]) -> None:
    started_at = time.perf_counter()
    statuses = {child.name: await child.end() for child in children}
    took = time.perf_counter() - started_at
    if any(statuses.values()):
        raise KeynetError(f"a process did not end well: {statuses}")
    narrator.step(
        "end",
        f"All processes ended in order, in {_ms(took)}; nothing is left behind",
        seconds=took,
        statuses=statuses,
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 10 else f"{seconds:.1f} s"
