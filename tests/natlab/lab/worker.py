"""A process of the lab that moves packets: started, told something, ended. See `packets`."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path

from tests.natlab.lab.commands import PATIENCE, LabError

ROOT = Path(__file__).parents[3]


class Worker:
    """`python -m tests.natlab.packets.<name>`. It ends by itself when this process does."""

    def __init__(self, name: str, *args: str) -> None:
        self._argv = [sys.executable, "-S", "-m", f"tests.natlab.packets.{name}", *args]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it says that it is ready. Raises LabError when it does not."""
        self._process = subprocess.Popen(
            self._argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            start_new_session=True,  # an interrupt from the keyboard is for the lab's owner
        )
        self._await("ready")

    def tell(self, command: str, answer: str) -> None:
        """Give it a line, and wait until it says that it is done."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        self._process.stdin.flush()
        self._await(answer)

    def close(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        assert process.stdin is not None
        assert process.stdout is not None
        process.kill()  # it has nothing to finish
        process.wait()
        process.stdin.close()
        process.stdout.close()

    def _await(self, word: str) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        output, said, end = self._process.stdout.fileno(), b"", time.monotonic() + PATIENCE
        while not said.endswith(b"\n"):
            ready, _, _ = select.select([output], [], [], max(0.0, end - time.monotonic()))
            part = os.read(output, 256) if ready else b""
            if not part:
                raise LabError(f"{' '.join(self._argv)} did not say {word!r}, but {said!r}")
            said += part
        if said.decode().strip() != word:
            raise LabError(f"{' '.join(self._argv)} did not say {word!r}, but {said!r}")
