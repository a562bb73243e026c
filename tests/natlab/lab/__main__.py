"""Looks around in a lab: `python -m tests.natlab.lab shell symmetric port-restricted`.

Other verbs: `kinds` lists the NATs, `clean` removes what crashed runs left.
"""

from __future__ import annotations

import argparse
import signal
import sys

from tests.natlab.lab.commands import LabError
from tests.natlab.lab.kinds import KINDS, Nat, nat
from tests.natlab.lab.lab import Host, Lab
from tests.natlab.lab.namespaces import obstacle, remove_stale


def shell(nats: list[Nat], round_trip: float) -> None:
    """Keep a lab up: a host on the internet, and one behind each kind."""
    with Lab(round_trip=round_trip) as lab:
        describe(lab.host("public", alternate=True))
        for number, behind in enumerate(nats, 1):
            describe(lab.host(f"{number}-{behind.kind}", behind=behind))
        print("It stays until a signal or the end of input (Ctrl-C, Ctrl-D).", flush=True)
        sys.stdin.read()


def describe(host: Host) -> None:
    """The lines to paste."""
    print(f"# {host.name}: {host.attachment.addresses}")
    if host.alternate:
        print(f"# and besides: {host.alternate}")
    print(" ".join(host.command(["bash"])))
    home = host.home
    while home is not None:
        print(f"# its router: {home.wan.addresses}, {home.nat.summary()}")
        print(" ".join([*home.namespace.enter(), "nft", "list", "ruleset"]))
        home = home.behind
    print()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.natlab.lab", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    keep = verbs.add_parser("shell", help="build a lab and keep it up")
    keep.add_argument("kinds", nargs="*", metavar="KIND", help="what hosts are to stand behind")
    keep.add_argument("--round-trip", type=float, default=0.04, metavar="SECONDS")
    keep.add_argument("--timeout", type=float, default=120, metavar="SECONDS")
    verbs.add_parser("kinds", help="list the kinds of NAT")
    verbs.add_parser("clean", help="remove what crashed runs left")
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    if chosen.verb == "kinds":
        print("\n".join(f"{kind.kind:22} {kind.summary()}" for kind in KINDS.values()))
        return
    reason = obstacle()
    if reason is not None:
        sys.exit(f"no lab here: {reason}")
    if chosen.verb == "clean":
        print("\n".join(remove_stale()) or "nothing was left")
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        shell([nat(kind, timeout=chosen.timeout) for kind in chosen.kinds], chosen.round_trip)
    except KeyboardInterrupt:
        print("removed")
    except (LabError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
