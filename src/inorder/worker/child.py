"""One process of `inorder run --workers N`: `python -m inorder.worker.child`, started by the supervisor.

Standard input brings one line of JSON, an `Order`, and then stays open: when it ends, the supervisor is dead, and
this process finishes what runs and ends too. Standard output carries `News` back. What handlers print goes to
standard error.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from inorder.errors import InorderError, UsageError
from inorder.observe.meter import Snapshot
from inorder.observe.nobody import NOBODY
from inorder.worker.settings import Settings

if TYPE_CHECKING:
    from inorder.observe.watching import Watching

_telling = threading.Lock()
REPORT_EVERY_S = 1.0
"""How often it says what it has counted. Less than that is lost with a process that is killed."""
SPARE_S = 5.0
"""Time to leave the source, after the handlers' own limit."""
SWITCH_S = 0.0005
"""How long a thread of a worker may keep the others from running Python. With Python's own 5 ms, every statement that
the store's thread runs may cost it as much, while the poll loop decodes what comes next."""
THREADS_SWITCH_S = 0.002
"""The same where many threads call a sync handler: each that is made to stop is one more to be started again."""
SELDOM = (100_000, 10, 10)
"""When to search for garbage: `gc.set_threshold`. Events are freed without that, and Python's own 700 objects are those
of a few hundred events: a tenth of a fold's time went into searches that found nothing. This is more than a full worker
has by default (`Limits.in_flight_events`, two of each)."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the supervisor wants run."""

    target: str
    settings: Settings
    log_level: str
    watched: bool = False
    """Whether it is to say again and again what it counts."""
    otel: bool = False
    """Whether it is to tell OpenTelemetry."""


class News(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a child has to say: one line of JSON each."""

    tally: int | None = None
    """It counts in this row of the store. Said before the first event is received."""
    up: bool = False
    """It has joined the group, and polls."""
    ended: str | None = None
    """It ends by itself: "idle", or "stopped" when it was told to."""
    numbers: Snapshot | None = None
    """What it has counted so far."""
    error: str | None = None
    """It ends because of this."""
    usage: bool = False
    """Trying again will not help."""


class Stop:
    """The wish to stop, from a signal or a thread, before or after there is a worker to pass it on to."""

    def __init__(self) -> None:
        self.wished = False
        self.patience_s = 0.0
        """How long what runs may take to end. Before there is a worker nothing runs."""
        self._act: Callable[[], None] | None = None

    def wish(self, *_: object) -> None:
        """Stop. More than once is the same as once: only the supervisor decides when patience ends."""
        self.wished = True
        if self._act is not None:
            self._act()

    def leads_to(self, act: Callable[[], None], patience_s: float) -> None:
        """What to do when the wish comes, or now if it has come already."""
        self._act, self.patience_s = act, patience_s
        if self.wished:
            act()


def main() -> int:
    """Run one worker as the supervisor asks."""
    stop = Stop()
    signal.signal(signal.SIGTERM, stop.wish)
    # Ctrl-C reaches every process of the terminal, and the supervisor passes it on as a SIGTERM. Until here it was
    # blocked: Python's own way with it is a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    with os.fdopen(os.dup(1), "wb", buffering=0) as channel:
        os.dup2(2, 1)
        line = sys.stdin.buffer.readline()
        if not line:
            return 0
        try:
            ended = _work(msgspec.json.decode(line, type=Order), channel, stop)
        except Exception as error:
            if not isinstance(error, InorderError):
                _log_traceback(error)
            _tell(channel, News(error=_named(error), usage=isinstance(error, UsageError)))
            return 1
        return 0 if ended else 1


def in_time(code: int) -> int:
    """An exit code, for a process that is to end with it soon, whatever threads handlers have started and left behind.

    Python waits for some of these, and the one that a handler hung in may never end.
    """
    threading.Thread(target=_end, args=(code,), name="end", daemon=True).start()
    return code


def _end(code: int) -> None:
    threading.Event().wait(SPARE_S)
    os._exit(code)


def dedicate(in_threads: bool) -> None:
    """Set up Python for a process that is a worker and nothing else; `in_threads`: of a handler called in threads."""
    sys.setswitchinterval(THREADS_SWITCH_S if in_threads else SWITCH_S)
    # What is there by now stays. Each search for garbage in it would keep all handlers waiting, for 15 ms and more.
    gc.freeze()
    gc.set_threshold(*SELDOM)


def _work(order: Order, channel: BinaryIO, stop: Stop) -> bool:
    from inorder.declaration import declaration_of
    from inorder.observe.log import log_to_stderr
    from inorder.observe.observers import observed
    from inorder.worker.loading import load_consumer
    from inorder.worker.run import Worker

    log_to_stderr(order.log_level, order.settings.worker)
    # From now on: to load a consumer may take for ever.
    threading.Thread(target=_watch_parent, args=(stop,), name="watch-parent", daemon=True).start()
    consumer = load_consumer(order.target)
    declared = declaration_of(consumer)
    on_poll = _Once(lambda: _tell(channel, News(up=True)))
    with observed(declared, order.settings, order.watched, order.otel) as watching:
        worker = Worker(consumer, order.settings, on_poll, watching or NOBODY)
        _tell(channel, News(tally=worker.tally))
        stop.leads_to(worker.stop, declared.limits.drain_s + SPARE_S)
        dedicate(declared.in_threads)
        with _reporting(watching, channel) if watching and order.watched else contextlib.nullcontext():
            ended = worker.run()
    _tell(channel, News(ended="stopped" if stop.wished else "idle"))
    return ended


@contextlib.contextmanager
def _reporting(watching: Watching, channel: BinaryIO) -> Iterator[None]:
    """Within the block, say every second what was counted, and a last time at its end."""
    over = threading.Event()

    def report() -> None:
        while not over.wait(REPORT_EVERY_S):
            _tell(channel, News(numbers=watching.snapshot()))

    thread = threading.Thread(target=report, name="report", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        _tell(channel, News(numbers=watching.snapshot()))


class _Once:
    """Does something when it is first called."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act: Callable[[], None] | None = act

    def __call__(self) -> None:
        if self._act is not None:
            act, self._act = self._act, None
            act()


def _watch_parent(stop: Stop) -> None:
    """Wait for the end of standard input, then stop; by force, when that takes too long."""
    while os.read(0, 1024):
        pass
    stop.wish()
    threading.Event().wait(stop.patience_s)
    os._exit(1)


def _tell(channel: BinaryIO, news: News) -> None:
    line = memoryview(msgspec.json.encode(news) + b"\n")
    # Under a lock, and to its end: two threads speak, and a long line does not go out at once.
    # It breaks when the supervisor is dead, as the end of standard input says too.
    with _telling, contextlib.suppress(BrokenPipeError):
        while line:
            line = line[channel.write(line) :]


def _named(error: Exception) -> str:
    return str(error) if isinstance(error, InorderError) else f"unexpected {type(error).__name__}: {error}"


def _log_traceback(error: Exception) -> None:
    import logging

    logging.getLogger("inorder.worker").debug("the traceback", exc_info=error)


if __name__ == "__main__":
    sys.exit(in_time(main()))
