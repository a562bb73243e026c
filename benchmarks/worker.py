"""One side of a benchmark, as a process: `python -m benchmarks.worker serve|run …`.

Not for people: the runner starts it. `serve PEER HOST` prints the address that it serves and stays;
`run PEER WORKLOAD JSON` prints marks, each answered by a line on standard input, and the result.
"""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from typing import Any

from benchmarks import grpc_unary, rpc
from benchmarks.peers import make
from benchmarks.workloads import WORKLOADS, Values, answer


def say(**said: Any) -> None:
    print(json.dumps(said), flush=True)


async def mark(name: str) -> None:
    say(event="mark", name=name)
    await asyncio.to_thread(sys.stdin.readline)


async def serve(name: str, host: str) -> None:
    if name == grpc_unary.NAME:
        address = grpc_unary.serve(host)
    elif name in rpc.NAMES:
        address = await rpc.serve(name, host)
    else:
        address = await make(name).serve(host, answer)
    say(event="ready", **address)
    await asyncio.Event().wait()


async def run(name: str, workload: str, arguments: dict[str, Any]) -> Values:
    if name == grpc_unary.NAME:
        return grpc_unary.run(**arguments)
    if name in rpc.NAMES:
        return await rpc.run(name, workload, **arguments)
    peer = make(name)
    try:
        return await WORKLOADS[workload](peer, mark=mark, **arguments)
    finally:
        await peer.close()


def main() -> None:
    """Report whatever goes wrong as a line, so that the runner can name it."""
    verb, *rest = sys.argv[1:]
    try:
        if verb == "serve":
            asyncio.run(serve(*rest))
        else:
            name, workload, arguments = rest
            say(event="result", values=asyncio.run(run(name, workload, json.loads(arguments))))
    except Exception as error:  # noqa: BLE001 - the process's edge
        traceback.print_exc()
        say(event="error", message=f"{type(error).__name__}: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
