"""`inorder run`: one process, or several under a supervisor, and what it came to."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from cyclopts import Parameter
from cyclopts.validators import Number

from inorder.cli.codes import Exit
from inorder.cli.failing import check_not_an_option, complain
from inorder.cli.progress import Progress
from inorder.cli.stopping import Stopping
from inorder.cli.streams import open_stream
from inorder.cli.summary import print_report
from inorder.declaration import Declaration, declaration_of
from inorder.errors import UsageError
from inorder.observe import desk, observers
from inorder.observe.log import log_to_stderr
from inorder.observe.nobody import NOBODY
from inorder.observe.observers import observed
from inorder.wiring import check_source, check_store, has_lag, is_one_reader, open_lag, open_store
from inorder.worker.child import SPARE_S
from inorder.worker.loading import load_consumer
from inorder.worker.run import Worker, report
from inorder.worker.settings import DEFAULT_STORE, Settings
from inorder.worker.supervisor import Supervisor

if TYPE_CHECKING:
    from inorder.observe.watching import Watching

AtLeastOne = Number(gte=1)
AtLeastZero = Number(gte=0)


@Parameter(name="*")
@dataclass(frozen=True)
class Scale:
    """How much goes on at once."""

    workers: Annotated[int, Parameter(validator=AtLeastOne, help="Processes of one group")] = 1
    concurrency: Annotated[
        int, Parameter(validator=AtLeastOne, help="Handlers without tx that run at once in one process")
    ] = 16
    connections: Annotated[
        int, Parameter(validator=AtLeastOne, help="With tx, on PostgreSQL: transactions at once in one process")
    ] = 1


def run(
    consumer: Annotated[str, Parameter(help="MODULE:NAME; MODULE is a dotted name, or a path as in bank.py:balance")],
    /,
    *,
    source: Annotated[
        str,
        Parameter(
            "--from",
            allow_leading_hyphen=True,
            help="embedded://path.db/TOPIC, kafka://host:port/TOPIC, sqs://QUEUE.fifo?region=…, FILE or -",
        ),
    ],
    store: Annotated[str, Parameter(help="sqlite:///path.db or postgresql://…")] = DEFAULT_STORE,
    scale: Scale | None = None,
    until_idle: Annotated[
        float | None,
        Parameter(validator=AtLeastZero, help="Seconds without an event after which to end, once all is settled"),
    ] = None,
    metrics: Annotated[
        str | None,
        Parameter(help="Serve /metrics, /livez, /readyz and /keys at PORT or HOST:PORT; 0 is any free port"),
    ] = None,
    otel: Annotated[
        bool,
        Parameter(negative=(), show_default=False, help="Send traces and metrics as OTEL_EXPORTER_OTLP_ENDPOINT says"),
    ] = False,
    as_json: Annotated[
        bool, Parameter("--json", negative=(), show_default=False, help="Print one closing document")
    ] = False,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Parameter(help="debug writes a line for each event")
    ] = "info",
) -> int:
    """Run a consumer: each entity's events in order, exactly once.

    SIGTERM and Ctrl-C finish what runs and print the summary; a second one
    ends at once. What handlers print goes to standard error.
    """
    scale = scale or Scale()
    workers = scale.workers
    check_not_an_option(source, "--from")
    log_to_stderr(log_level, "" if workers > 1 else "1")
    settings = Settings(
        source=source,
        store=store,
        concurrency=scale.concurrency,
        connections=scale.connections,
        until_idle_s=until_idle,
    )
    check_source(source)
    check_store(store)
    desk.check(metrics)
    observers.check(otel)
    began = time.monotonic()
    with contextlib.redirect_stdout(sys.stderr), contextlib.ExitStack() as stack:
        declared = declaration_of(load_consumer(consumer))
        watched = metrics is not None
        if workers == 1:
            made = _one(declared, settings, stack.enter_context(observed(declared, settings, watched, otel)))
        else:
            made = _several(consumer, declared, settings, workers, log_level, watched, otel)
        limit_s = declared.limits.drain_s + 2 * SPARE_S
        with (
            Stopping(made.stop, limit_s, made.kill) as stopping,
            Progress(declared, settings, made.tallies),
            _served(metrics, declared, settings, made.snapshots),
        ):
            clean = made.run()
    look = open_store(store, declared.name)
    try:
        found = report(declared, look, made.tallies(), time.monotonic() - began)
    finally:
        look.close()
    print_report(found, as_json)
    if not clean:
        complain(f"handlers still ran after {declared.limits.drain_s:g} s; their events will be handed out again")
    return Exit.INTERRUPTED if stopping.interrupted else Exit.OK if clean else Exit.FAILURE


class _Made(NamedTuple):
    """What runs, in one process or in several."""

    run: Callable[[], bool]
    stop: Callable[[], None]
    kill: Callable[[], None]
    tallies: Callable[[], Sequence[int]]
    snapshots: Callable[[], desk.Workers]


def _one(declared: Declaration, settings: Settings, watching: Watching | None) -> _Made:
    worker = Worker(declared.function, settings, observer=watching or NOBODY)
    return _Made(
        worker.run,
        worker.stop,
        lambda: None,
        lambda: [worker.tally],
        lambda: desk.Workers([] if watching is None else [watching.snapshot()], [], 1, 0),
    )


def _several(
    consumer: str, declared: Declaration, settings: Settings, workers: int, log_level: str, watched: bool, otel: bool
) -> _Made:
    """Under a supervisor."""
    if is_one_reader(settings.source):
        raise UsageError(f"{settings.source} is read by one process: leave --workers out, or produce it to a broker")
    group = Supervisor(consumer, settings, workers, log_level, declared.limits.drain_s, watched, otel)

    def snapshots() -> desk.Workers:
        running, ended = group.counted()
        return desk.Workers(running, [ended], workers, group.restarts)

    return _Made(group.run, group.stop, group.kill, lambda: group.tallies, snapshots)


def _served(
    place: str | None, declared: Declaration, settings: Settings, workers: Callable[[], desk.Workers]
) -> contextlib.AbstractContextManager[None]:
    """Metrics and probes, where they are asked for."""
    name, source = declared.name, settings.source
    open_behind = (lambda: open_lag(source, name)) if has_lag(source) else None
    return desk.served(place, name, workers, lambda: open_stream(settings.store, name), open_behind)
