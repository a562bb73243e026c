"""Statuses as error objects and back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from keynet.rpc.jsonrpc import codes
from keynet.rpc.status import Status, rpc_error

FAILURES = [status for status in Status if status is not Status.OK]


@pytest.mark.parametrize("status", FAILURES)
def test_every_status_comes_back(status: Status) -> None:
    text = msgspec.json.encode(codes.error_object(rpc_error(status, "why", b"\x00\xff")))
    told = msgspec.json.decode(text)
    error = codes.rpc_error_of(told["code"], told["message"], told["data"])
    assert (error.status, error.message, error.details) == (status, "why", b"\x00\xff")


@pytest.mark.parametrize("status", FAILURES)
def test_the_code_alone_says_the_status(status: Status) -> None:
    code = codes.error_object(rpc_error(status, "why")).code
    assert codes.rpc_error_of(code, "why", None).status == status


def test_codes_are_the_specifications_where_it_has_them() -> None:
    def code(status: Status) -> int:
        return codes.error_object(rpc_error(status, "")).code

    assert code(Status.UNIMPLEMENTED) == -32601
    assert code(Status.INVALID_ARGUMENT) == -32602
    assert code(Status.INTERNAL) == -32603
    assert code(Status.NOT_FOUND) == -32005


@pytest.mark.parametrize(
    ("code", "data", "status"),
    [
        (-32700, None, Status.INTERNAL),
        (-32600, "text", Status.INTERNAL),
        (-32000, None, Status.UNKNOWN),
        (-32017, {"status": 5}, Status.UNKNOWN),
        (-32099, [], Status.UNKNOWN),
        (42, {"status": "OK"}, Status.UNKNOWN),
        (42, {"status": "ABORTED"}, Status.ABORTED),
        (10**30, {"status": "NONSENSE", "details": "!"}, Status.UNKNOWN),
    ],
)
def test_reads_whatever_other_programs_say(code: int, data: Any, status: Status) -> None:
    assert codes.rpc_error_of(code, "message", data).status == status


def test_what_is_shown_is_bounded_and_printable() -> None:
    error = codes.rpc_error_of(1, "a\x1b[31m\n" + "x" * 10_000, {"details": "QUJD" * 5000})
    assert error.message.isprintable()
    assert len(error.message) <= 300
    assert len(error.details) <= 4096
