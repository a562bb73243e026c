"""One local connection carried through a CONNECT proxy, for `keynet forward`. No CLI here."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from keynet.address import Authority
from keynet.config import UnixPath
from keynet.config.values import LocalAddress
from keynet.errors import ConfigError, ConnectError, KeynetError, ProxyRefused
from keynet.rpc.proxy.credentials import basic

CHUNK = 65536
MAX_ANSWER = 16384
_RST_ON_CLOSE = struct.pack("ii", 1, 0)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Way:
    """Through which proxy, and to what."""

    proxy: LocalAddress
    token: str | None
    target: Authority


async def listen(local: LocalAddress, way: Way, failed: Callable[[str], None]) -> asyncio.Server:
    """Carry each connection to `local` the way told. ConfigError when that cannot be listened on.

    `failed` is told in one line of each connection that got nowhere.
    """

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _carry((reader, writer), way)
        except (KeynetError, OSError) as error:
            failed(str(error))
            _break_off(writer)
        except BaseException:
            _break_off(writer)
            raise
        finally:
            writer.close()

    try:
        if isinstance(local, UnixPath):
            return await asyncio.start_unix_server(connected, local.path, limit=CHUNK)
        return await asyncio.start_server(connected, local.host, local.port, limit=CHUNK)
    except OSError as error:
        raise ConfigError(f"cannot listen on {local}: {error.strerror or error}") from error


async def _carry(client: Streams, way: Way) -> None:
    reader, writer = await _connect(way)
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_pump(client[0], writer))
            both.create_task(_pump(reader, client[1]))
        writer.close()
    except* OSError as broken:
        raise broken.exceptions[0] from None
    finally:
        if not writer.is_closing():
            _break_off(writer)


def _break_off(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side sees an error: an end would pass off a part as the whole."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):  # it is closed already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
    writer.transport.abort()


async def _connect(way: Way) -> Streams:
    """The proxy's connection, with its 200 taken off. Raises ProxyRefused or ConnectError."""
    try:
        reader, writer = await _open(way.proxy)
    except OSError as error:
        raise ConnectError(
            f"the node's proxy at {way.proxy} does not answer: does the node still run?"
        ) from error
    try:
        writer.write(_head(way))
        head = await reader.readuntil(b"\r\n\r\n")
        _check(head, way)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        writer.close()
        raise ConnectError("the node's proxy broke off its answer") from error
    except BaseException:
        writer.close()
        raise
    return reader, writer


async def _open(proxy: LocalAddress) -> Streams:
    if isinstance(proxy, UnixPath):
        return await asyncio.open_unix_connection(proxy.path, limit=MAX_ANSWER)
    return await asyncio.open_connection(proxy.host, proxy.port, limit=MAX_ANSWER)


def _head(way: Way) -> bytes:
    lines = [f"CONNECT {way.target} HTTP/1.1", f"Host: {way.target}"]
    if way.token is not None:
        lines.append(f"Proxy-Authorization: {basic(way.token)}")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def _check(head: bytes, way: Way) -> None:
    version, _, rest = head.split(b"\r\n", 1)[0].partition(b" ")
    status, _, reason = rest.partition(b" ")
    if not version.startswith(b"HTTP/1.") or not status.isdigit() or len(status) != 3:
        raise ConnectError(f"what listens on {way.proxy} is no HTTP proxy")
    if not 200 <= int(status) < 300:
        told = reason.decode("ascii", "replace")
        raise ProxyRefused(int(status), f"{way.target}: {status.decode()} {told}")


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError):  # closed meanwhile: the other direction says why
        writer.write_eof()
