"""The command `inorder`. Each verb is a file of this package, imported when it is used."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from inorder.cli.codes import Exit

if TYPE_CHECKING:
    from cyclopts import App

VERBS = {
    "demo": ("inorder.cli.demo:demo", "Watch order go wrong, then right, on this machine alone."),
    "lab": ("inorder.cli.lab:lab", "Experiments: what goes wrong with order, and what inorder makes of it."),
    "run": ("inorder.cli.run:run", "Run a consumer: each entity's events in order, exactly once."),
    "produce": ("inorder.cli.produce:produce", "Send the lines of a JSON Lines file to a broker."),
    "relay": ("inorder.cli.relay:relay", "Publish an outbox: what is committed, each entity in order."),
    "state": ("inorder.cli.state:state", "Print the state of each entity."),
    "status": ("inorder.cli.status:status", "Streams, what waits, what failed, replays and workers."),
    "top": ("inorder.cli.top:top", "The busiest keys of a run with --metrics."),
    "dlq": ("inorder.cli.dlq:app", "Dead letters: look at them, mend them, replay them."),
    "prove": ("inorder.cli.prove:prove", "Find a delivery schedule that breaks a handler, or show there is none."),
    "doctor": ("inorder.cli.doctor:doctor", "Examine a live configuration: what in it can break order."),
}

HELP = """Every entity's events take effect in order, exactly once.

Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 5 partial, 6 findings, 130 interrupted.
Results go to standard output, progress and logs to standard error.
--debug shows the traceback of a failure.
"""

asked: Sequence[str] = ()
"""What the command was given, for those of its parts that are loaded late."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code. `arguments` are those of the process unless given."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        from inorder import __version__

        print(f"inorder {__version__}")
        return Exit.OK
    from inorder.cli.failing import DEBUG, complain, failed

    debug = DEBUG in given
    if debug:
        given.remove(DEBUG)
    try:
        code = _dispatch(given)
        sys.stdout.flush()
        if arguments is None and threading.active_count() > 1:
            from inorder.worker.child import in_time

            return in_time(code)
        return code
    except KeyboardInterrupt:
        complain("interrupted")
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has seen enough. What is left in the buffer must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or Exit.OK
        complain(str(error.code))
        return Exit.FAILURE
    except Exception as error:
        return failed(error, debug)


def _dispatch(arguments: list[str]) -> int:
    global asked  # noqa: PLW0603  # one command a process
    asked = arguments
    from inorder.cli.failing import complain

    if arguments and not arguments[0].startswith("-") and arguments[0] not in VERBS:
        complain(f"there is no verb {arguments[0]!r}: {_meant(arguments[0])}")
        return Exit.USAGE
    if verb := _option_before(arguments):
        complain(f"{arguments[0]} stands before the verb: write inorder {verb}, and its options after it")
        return Exit.USAGE
    from cyclopts import CycloptsError

    try:
        result = application(arguments[0] if arguments else "")(arguments)
    except CycloptsError as error:
        complain(f"{error} (see: {_help_for(arguments)})")
        return Exit.USAGE
    return result if isinstance(result, int) else Exit.OK


def application(verb: str = "") -> App:
    """The command's verbs and options. The one that is about to be used tells of itself at length."""
    from cyclopts import App

    from inorder import __version__

    app = App(
        name="inorder",
        help=HELP,
        help_format="plaintext",
        version=f"inorder {__version__}",
        help_formatter="default" if sys.stdout.isatty() else "plain",
        result_action="return_value",
        print_error=False,
        exit_on_error=False,
        suppress_keyboard_interrupt=False,
    )
    for name, (place, line) in VERBS.items():
        app.command(place, name=name, help=None if name == verb else line)
    return app


def _meant(verb: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(verb, VERBS, 1)
    return f"did you mean {near[0]}?" if near else f"write one of {', '.join(VERBS)}"


def _option_before(arguments: list[str]) -> str | None:
    """The verb that comes after an option that the command itself does not have."""
    if not arguments or not arguments[0].startswith("-") or arguments[0] in ("-h", "--help", "--version"):
        return None
    return next((one for one in arguments if one in VERBS), None)


def _help_for(arguments: list[str]) -> str:
    verb = next((one for one in arguments if one in VERBS), None)
    if verb is None:
        return "inorder --help"
    # A verb that has verbs of its own is a module of them, and they are known by then.
    below = getattr(sys.modules.get(VERBS[verb][0].removesuffix(":app")), "VERBS", ())
    words = [verb, *[one for one in arguments[arguments.index(verb) + 1 :][:1] if one in below]]
    return f"inorder {' '.join(words)} --help"
