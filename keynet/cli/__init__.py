"""The `keynet` command: one verb a file, imported only when it is the one that was asked for."""

import contextlib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

import keynet
from keynet.errors import ConfigError, KeynetError, PluginNotFound

if TYPE_CHECKING:
    import typer

VERBS = {
    "run": "Run a node: expose services to peers, and reach theirs through its proxy.",
    "forward": "Give programs without proxy support a local port that leads to a peer's service.",
    "call": "Call a method of a peer, and print what it gives.",
    "services": "List what may be called at a peer.",
    "seed": "Run a seed: nodes register there, are found there by id, and meet through it.",
    "ping": "Measure the way to a peer: its path, and the round trips of link and calls.",
    "why": "Tell why a peer is not reached: every address tried, with its outcome and advice.",
    "status": "Show what the running node is, has and is connected to.",
    "allow": "Change who may reach the running node's exposed services.",
    "expose": "Change which local servers the running node lets peers in to.",
    "allow-call": "Change who may call the running node's methods.",
    "peer": "Change whose UDP addresses the running node knows outright.",
    "id": "Make, show and rotate this node's identity.",
    "plugins": "List each layer's implementations, where they come from and what is wrong.",
    "doctor": "Examine addresses, NATs and firewalls here, and say what they mean for a node.",
    "demo": "Carry real gRPC calls between two nodes on this machine, and tell how.",
}
"""Each verb is a module of this package, with a function `command` or a Typer `app`."""

INTERRUPTED = 130
"""The exit status after Ctrl-C where nothing closes in order (128 + SIGINT)."""


def main(argv: Sequence[str] | None = None) -> None:
    """What the console script runs; raises SystemExit.

    Status 0: done; 2: the command line or a setting is wrong; 1: anything else, told in one line.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        try:
            application(args)(args=args, prog_name="keynet")
        finally:
            sys.stdout.flush()  # here, where a full disk can be told
    except KeynetError as error:
        print(f"keynet: {error}", file=sys.stderr)
        wrong = isinstance(error, ConfigError | PluginNotFound)
        raise SystemExit(2 if wrong else 1) from error
    except OSError as error:
        _drop_output()
        print(f"keynet: the system refused: {error.strerror or error}", file=sys.stderr)
        raise SystemExit(1) from error
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


def _drop_output() -> None:
    """Let the interpreter's last flush succeed: it would fail again, with a traceback."""
    with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def application(args: Sequence[str]) -> "typer.Typer":
    """The command-line application, with only the verb in `args` loaded; the others are names."""
    import typer  # lazy, as are the verbs: they are most of the time that --help takes

    def show_version(wanted: bool) -> None:
        if wanted:
            typer.echo(f"keynet {keynet.__version__}")
            raise typer.Exit

    def root(
        version: Annotated[
            bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show it.")
        ] = False,
    ) -> None:
        pass

    app = typer.Typer(
        name="keynet",
        help="Reach a server on another key-identified node, securely, over one UDP socket.",
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root)
    wanted = next((arg for arg in args if not arg.startswith("-")), None)
    for verb, summary in VERBS.items():
        if verb != wanted:
            app.command(verb, help=summary)(_not_loaded)
            continue
        module = import_module(f"keynet.cli.{verb.replace('-', '_')}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=verb)
        else:
            app.command(verb)(module.command)
    return app


def _not_loaded() -> None:
    raise AssertionError("the verb is in the arguments, so its module was loaded")
