"""A plain gRPC client behind a forward proxy, which calls the demo's service as it is told.

Usage: python -m tests.natlab.probes.grpc_caller PROXY TOKEN AUTHORITY. It answers each line with a
JSON object: the call's status `code`, what it gave, its `seconds`, and `details` of an error.

    greet WORD      a unary call
    await WORD      the same, but until the server can be reached
    shout WORD      a duplex call that stays open: its first answer, and later how it ended
"""

from __future__ import annotations

import json
import queue
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

import grpc

from keynet.cli.demo_service import SERVICE

PATIENCE = 60.0


def said(**report: object) -> None:
    print(json.dumps(report), flush=True)


def greet(channel: grpc.Channel, word: bytes, *, wait: bool = False) -> None:
    call = channel.unary_unary(f"/{SERVICE}/Greet")
    said(code="OK", answer=call(word, timeout=PATIENCE, wait_for_ready=wait).decode())


def shout(channel: grpc.Channel, word: bytes) -> None:
    words: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    words.put(word)
    requests: Iterator[bytes | None] = iter(words.get, None)
    for answer in channel.stream_stream(f"/{SERVICE}/Shout")(requests, timeout=PATIENCE):
        said(code="OK", answer=answer.decode())
    said(code="OK")


ORDERS: dict[str, Callable[[grpc.Channel, bytes], None]] = {
    "greet": greet,
    "await": partial(greet, wait=True),
    "shout": shout,
}


def obeyed(order: Callable[[grpc.Channel, bytes], None], channel: grpc.Channel, word: str) -> None:
    began_at = time.monotonic()
    try:
        order(channel, word.encode())
    except grpc.RpcError as error:
        code, details = error.code().name, error.details()
        said(code=code, details=details, seconds=time.monotonic() - began_at)


def main() -> None:
    proxy, token, authority = sys.argv[1:]
    options = [("grpc.http_proxy", f"http://keynet:{token}@{proxy}")]
    with grpc.insecure_channel(authority, options=options) as channel:
        said(ready=True)
        for line in sys.stdin:
            verb, _, word = line.strip().partition(" ")
            obeyed(ORDERS[verb], channel, word)


if __name__ == "__main__":
    main()
