"""A run of the lab to be ended from outside: builds one, says "ready", and waits.

Usage: hold_lab.py, with the repository's root on PYTHONPATH. It ends when its input does.
"""

from __future__ import annotations

import sys

from tests.natlab.lab import Lab, Link, nat


def main() -> None:
    with Lab() as lab:
        host = lab.host(behind=nat("full-cone"), link=Link(delay=0.001))
        lab.spawn(host, ["sleep", "1000"])
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
