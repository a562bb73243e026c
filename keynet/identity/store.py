"""The identity at rest: one PEM file, mode 0600, replaced atomically. Its text is pem.py's.

Nothing is locked here: whoever changes the identity holds the state directory's lock.
"""

from __future__ import annotations

import os
import stat
from datetime import datetime
from pathlib import Path

from keynet.errors import ConfigError, KeyFileError
from keynet.identity.identity import Identity
from keynet.identity.pem import identity_from_pem, identity_to_pem
from keynet.state import write_private

FILE_NAME = "identity.pem"
_MAX_FILE_BYTES = 1 << 20


class IdentityStore:
    """Keeps a node's identity in `directory`, which is made, mode 0700, when it is written to."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME
        """The file; whoever can read it is the node."""

    def exists(self) -> bool:
        """Whether there is an identity file, sound or not; KeyFileError when that is not told."""
        try:
            self.path.stat()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise KeyFileError(f"{self.path} cannot be read: {error.strerror}") from error
        return True

    def load(self, passphrase: bytes | None = None) -> Identity:
        """Read the identity; KeyFileError when it is missing, open to others, locked or corrupt.

        A passphrase that the file does not need is ignored. The leaf may be expired.
        """
        return identity_from_pem(self._read(), passphrase)

    def create(self, passphrase: bytes | None = None, now: datetime | None = None) -> Identity:
        """Make a new identity and keep it; ConfigError when there is one already."""
        if self.exists():
            raise ConfigError(f"{self.path} exists already: it would be lost")
        return self._keep(Identity.generate(now), passphrase)

    def load_or_create(
        self, passphrase: bytes | None = None, now: datetime | None = None
    ) -> Identity:
        """The identity that is kept, its leaf issued again when that is due; else a new one."""
        if not self.exists():
            return self.create(passphrase, now)
        identity = self.load(passphrase)
        renewed = identity.renewed(now)
        return identity if renewed is identity else self._keep(renewed, passphrase)

    def rotate(self, passphrase: bytes | None = None, now: datetime | None = None) -> Identity:
        """Give the node a new key, and keep it beside the retired ones. Raises as `load` does."""
        return self._keep(self.load(passphrase).rotate(now), passphrase)

    def _keep(self, identity: Identity, passphrase: bytes | None) -> Identity:
        self._write(identity_to_pem(identity, passphrase))
        return identity

    def _read(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                if os.name == "posix" and mode & 0o077:
                    raise KeyFileError(
                        f"{self.path} has mode {mode:04o}, so that others may read the key: "
                        f"chmod 600 it, and rotate if they may have"
                    )
                return file.read(_MAX_FILE_BYTES)
        except FileNotFoundError as error:
            raise KeyFileError(f"no identity at {self.path}: make one (keynet id new)") from error
        except OSError as error:
            raise KeyFileError(f"{self.path} cannot be read: {error.strerror}") from error

    def _write(self, pem: bytes) -> None:
        try:
            write_private(self.path, pem)
        except OSError as error:
            raise KeyFileError(f"{self.path} cannot be written: {error.strerror}") from error
