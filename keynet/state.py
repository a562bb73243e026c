"""Where a node keeps its state, how secrets are written there, and the lock that lets one process
at a time change it. What is in the files is told where they are read.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import platformdirs
from filelock import FileLock, Timeout

from keynet.errors import ConfigError, StateInUse

ENVIRONMENT = "KEYNET_STATE"
_LOCK = "lock"
_HOLDER = "lock.holder"
_MAX_HOLDER_CHARS = 200


def state_dir(override: str | Path | None = None) -> Path:
    """The state directory: `override`, else $KEYNET_STATE, else the platform's. Not made here.

    Raises ConfigError when a file is in its place, or in the place of one above it.
    """
    chosen = override or os.environ.get(ENVIRONMENT)
    if not chosen:
        return platformdirs.user_state_path("keynet", appauthor=False)
    directory = Path(chosen).expanduser().absolute()
    for place in (directory, *directory.parents):
        if os.path.isfile(place):  # unlike Path.is_file it never raises
            raise ConfigError(
                f"{directory} cannot be a state directory, because {place} is a file: "
                "name a directory with --state"
            )
    return directory


def write_private(path: Path, data: bytes) -> None:
    """Write beside, flush to the disk, rename over: the file is the old one or the new one.

    Its mode is 0600 from the start; the directory is made, mode 0700. Raises OSError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    """Make the rename survive a power cut, where directories can be opened (not on Windows)."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_private(directory: Path) -> None:
    """Who may make files there could lay links under what is written, and take the key's place."""
    if os.name == "posix" and directory.stat().st_mode & 0o022:
        raise ConfigError(
            f"others can write to the state directory {directory}: chmod 700 it, "
            f"or choose another with --state"
        )


class StateLock:
    """Held by the one process that may change the directory; the kernel frees it when that dies.

    Use it as a context manager, or call `acquire` and `release`.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = FileLock(directory / _LOCK, timeout=0, mode=0o600)

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock.is_locked

    def acquire(self) -> None:
        """Take the lock at once, making the directory; StateInUse names who has it instead."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_private(self._directory)
            self._lock.acquire()
            self._write_holder()
        except Timeout as error:
            raise StateInUse(
                f"the state directory {self._directory} is in use by {self._read_holder()}: "
                f"stop that, or choose another with --state"
            ) from error
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"{self._directory} cannot be locked: {reason}") from error

    def release(self) -> None:
        """Let go. Idempotent."""
        if self._lock.is_locked:
            with contextlib.suppress(OSError):
                (self._directory / _HOLDER).unlink()
        self._lock.release()

    def _write_holder(self) -> None:
        """For people only: the kernel's lock is what counts."""
        verb = [word for word in sys.argv[1:2] if not word.startswith("-")]  # a flag may be secret
        command = " ".join((Path(sys.argv[0]).name, *verb))
        since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        text = f"process {os.getpid()} ({command}) since {since}"
        (self._directory / _HOLDER).write_text(text, encoding="utf-8")

    def _read_holder(self) -> str:
        try:
            text = (self._directory / _HOLDER).read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
        printable = "".join(c for c in text[:_MAX_HOLDER_CHARS] if c.isprintable())
        return printable or "another process"

    def __enter__(self) -> StateLock:
        self.acquire()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
