"""`inorder run`: one process, or several under a supervisor, and what it came to."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from inorder.cli.codes import Exit
from inorder.cli.failing import check_not_an_option, complain
from inorder.cli.progress import Progress
from inorder.cli.stopping import Stopping
from inorder.cli.summary import print_report
from inorder.declaration import Declaration, declaration_of
from inorder.errors import UsageError
from inorder.observe.log import log_to_stderr
from inorder.wiring import check_store, is_one_reader, open_source, open_store
from inorder.worker.child import SPARE_S
from inorder.worker.loading import load_consumer
from inorder.worker.run import Worker, report
from inorder.worker.settings import Settings
from inorder.worker.supervisor import Supervisor

AtLeastOne = Number(gte=1)
AboveZero = Number(gt=0)


def run(
    consumer: Annotated[str, Parameter(help="MODULE:NAME; MODULE is a dotted name, or a path as in bank.py:balance")],
    /,
    *,
    source: Annotated[
        str,
        Parameter(
            "--from", allow_leading_hyphen=True, help="embedded:///path.db/TOPIC, kafka://host:port/TOPIC, FILE or -"
        ),
    ],
    store: Annotated[str, Parameter(help="sqlite:///path.db or postgresql://…")] = "sqlite:///inorder.db",
    workers: Annotated[int, Parameter(validator=AtLeastOne, help="Processes of one group")] = 1,
    concurrency: Annotated[
        int, Parameter(validator=AtLeastOne, help="Handlers without tx that run at once in one process")
    ] = 16,
    until_idle: Annotated[
        float | None,
        Parameter(validator=AboveZero, help="Seconds without an event after which to end, once all is settled"),
    ] = None,
    as_json: Annotated[bool, Parameter("--json", negative=(), help="Print one closing document")] = False,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Parameter(help="debug writes a line for each event")
    ] = "info",
) -> int:
    """Run a consumer: each entity's events in order, exactly once.

    SIGTERM and Ctrl-C finish what runs and print the summary; a second one ends at once. What handlers print goes to
    standard error.
    """
    check_not_an_option(source, "--from")
    log_to_stderr(log_level, "" if workers > 1 else "1")
    function = load_consumer(consumer)
    declared = declaration_of(function)
    settings = Settings(source=source, store=store, concurrency=concurrency, until_idle_s=until_idle)
    check_store(store)
    began = time.monotonic()
    with _handlers_print_to_stderr():
        if workers == 1:
            worker = Worker(function, settings)
            ended = _work(worker.run, worker.stop, lambda: None, lambda: [worker.tally], declared, store)
            tallies: Sequence[int] = [worker.tally]
        else:
            _try_first(declared, settings)
            group = Supervisor(consumer, settings, workers, log_level, declared.limits.drain_s)
            ended = _work(group.run, group.stop, group.kill, lambda: group.tallies, declared, store)
            tallies = group.tallies
    look = open_store(store, declared.name)
    try:
        found = report(declared, look, tallies, time.monotonic() - began)
    finally:
        look.close()
    print_report(found, as_json)
    clean, interrupted = ended
    if not clean:
        complain(f"handlers still ran after {declared.limits.drain_s:g} s; their events will be handed out again")
    return Exit.INTERRUPTED if interrupted else Exit.OK if clean else Exit.FAILURE


def _work(
    go: Callable[[], bool],
    stop: Callable[[], None],
    kill: Callable[[], None],
    tallies: Callable[[], Sequence[int]],
    declared: Declaration,
    store: str,
) -> tuple[bool, bool]:
    """Run to the end; returns whether everything that ran was finished, and whether Ctrl-C asked for the end."""
    limit_s = declared.limits.drain_s + 2 * SPARE_S
    with Stopping(stop, limit_s, kill) as stopping, Progress(declared, store, tallies):
        clean = go()
    return clean, stopping.interrupted


def _try_first(declared: Declaration, settings: Settings) -> None:
    """Fail before any process is started, where they would all fail."""
    if is_one_reader(settings.source):
        raise UsageError(f"{settings.source} is read by one process: leave --workers out, or produce it to a broker")
    look: Any = open_store(settings.store, declared.name)
    try:
        look.register(declared.order, declared.baseline)
    finally:
        look.close()
    open_source(settings.source, declared.name).close()


@contextlib.contextmanager
def _handlers_print_to_stderr() -> Iterator[None]:
    with contextlib.redirect_stdout(sys.stderr):
        yield
