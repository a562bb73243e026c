"""Commands of the system that the lab runs to their end: `ip`, `nft`, `conntrack`. Nothing else."""

from __future__ import annotations

import subprocess

PATIENCE = 30.0
"""Seconds that a command may take; each takes milliseconds unless the machine is very busy."""


class LabError(Exception):
    """A step of building, changing or removing the lab failed; the message holds what was said."""


def run(*argv: str, stdin: str = "", check: bool = True) -> str:
    """Run a command and return its standard output.

    Raises LabError with what it said on standard error when it fails and `check` holds, or when
    it takes longer than PATIENCE.
    """
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"{' '.join(argv)}: {error}") from error
    if check and done.returncode != 0:
        given = f", given:\n{stdin}" if stdin else ""
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip()}{given}")
    return done.stdout
