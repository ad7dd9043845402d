"""Operators' programs that are killed at the n-th thing they do: each write, and each begin and end of a handler.

Between two writes, to the store or to anything else, it makes no difference when a process dies: reads do not count.

Run as a module this is a small server that forks a process for each order, as `tests.worker.crashing` does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from types import TracebackType
from typing import Any, Self

import msgspec

import inorder
from inorder.deadletters import call_road, operating, road
from inorder.deadletters.operating import Operator
from inorder.deadletters.planning import Choice, make_plan
from inorder.deadletters.replay import run_plan
from inorder.wiring import open_store
from tests.deadletters.replays import Fault
from tests.worker.consumers import Entry, declare

LIMITS = inorder.Limits(handler_s=2.0)
RETRY = inorder.Retry(attempts=2, delay_s=0.01, factor=1)


class Order(msgspec.Struct, kw_only=True):
    """What to do, and before which tick to die."""

    verb: str
    """plan, replay, skip or edit."""
    kind: str
    store: str
    effects: str
    bad: list[tuple[str, int]]
    """The events that the handler still fails for."""
    dies_at: int = 0
    """0: never."""


class Ticks:
    """Counts what this process does, and kills it when its time has come."""

    def __init__(self, dies_at: int) -> None:
        self.seen = 0
        self._dies_at = dies_at

    def tick(self, *_: object) -> None:
        self.seen += 1
        if self.seen == self._dies_at:
            os.kill(os.getpid(), signal.SIGKILL)


def consumer(order: Order, ticks: Ticks | None = None) -> Callable[..., Any]:
    """The consumer of these tests. `effects` is a file that takes the effects of handlers without `tx`."""
    fault = Fault(*order.bad)
    counted = ticks or Ticks(0)

    def act(entry: Entry) -> None:
        counted.tick()
        fault(entry)

    def note(entry: Entry) -> None:
        with open(order.effects, "ab", buffering=0) as file:
            file.write(b"%s %d\n" % (entry.key.encode(), entry.version))
        counted.tick()

    mark = "%s" if order.store.startswith("postgresql") else "?"
    return declare(order.kind, act, note, mark, retry=RETRY, limits=LIMITS)


def work(order: Order) -> None:
    """Do what an operator does, and die on the way."""
    ticks = Ticks(order.dies_at)
    road.LEASE_SPARE_S = call_road.LEASE_SPARE_S = 0.5  # type: ignore[attr-defined]
    _tick_at_each_statement(ticks)
    do(order, consumer(order, ticks))


def do(order: Order, function: Callable[..., Any]) -> None:
    """The verb of an order, from its beginning; what was done of it before is not done again."""
    by = Operator("operator", "because", 1.0)
    if order.verb in {"plan", "replay"}:
        look = open_store(order.store, "stream")
        plans = look.plans()
        look.close()
        if not plans:
            made = make_plan(function, order.store, Choice(), handler="x:y", actor="operator")
            assert made is not None
            plans = [made.plan]
        if order.verb == "replay":
            run_plan(function, order.store, plans[0].id, reason="because", actor="operator")
    if order.verb in {"skip", "edit"}:
        look = open_store(order.store, "stream")
        row = next((row for row in look.letters("open") if row.letter.key == "a"), None)
        if row is not None and order.verb == "skip":
            operating.skip_letter(look, row.id, by)
        if row is not None and order.verb == "edit" and not look.edits(row.id):
            operating.edit(look, row.id, msgspec.json.encode(Entry("a", 2, "a-2", 99)), by, function)
        look.close()


_READS = ("SELECT", "BEGIN", "PRAGMA", "SET", "SHOW", "--")


def _tick_at_each_statement(ticks: Ticks) -> None:
    """Before each that writes. After the last of them it has done all there was to do."""
    from inorder.stores.postgres.connections import Link

    sqlite: Any = import_module("inorder.stores.sqlite.store")
    opened = sqlite.open_file

    def open_file(*arguments: Any, **options: Any) -> Any:
        connection = opened(*arguments, **options)
        connection.set_trace_callback(lambda text: None if text.lstrip().upper().startswith(_READS) else ticks.tick())
        return connection

    sqlite.open_file = open_file

    def traced(run: Callable[..., Any]) -> Callable[..., Any]:
        def running(self: Any, statement: Any, *arguments: Any, **options: Any) -> Any:
            if not str(statement).lstrip().upper().startswith(_READS):
                ticks.tick()
            return run(self, statement, *arguments, **options)

        return running

    for name in ("execute", "run"):
        setattr(Link, name, traced(getattr(Link, name)))


class Crasher:
    """The server, from the outside."""

    def __enter__(self) -> Self:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.deadletters.crashing"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()

    def run(self, order: Order) -> bool:
        """Returns whether the process was killed; if not, it has done all there was to do."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(msgspec.json.encode(order) + b"\n")
        self._server.stdin.flush()
        code = int(self._server.stdout.readline())
        assert code in {0, -signal.SIGKILL}, f"ended with {code}"
        return code != 0


def _serve() -> None:
    for module in ("stores.sqlite", "stores.postgres", "deadletters.replay"):
        import_module(f"inorder.{module}")
    for line in sys.stdin.buffer:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                work(msgspec.json.decode(line, type=Order))
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    _serve()
