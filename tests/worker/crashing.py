"""Workers that are killed or frozen at a named step: by a signal, from inside, at the n-th time the step is reached.

The steps are where the worker meets its ports: the source, the store and its transactions are wrapped, and nothing in
the library knows of it. Run as a module this is a small server, which forks a fresh process for each worker: orders
come in on standard input, one line of JSON each, and the process and how it ended go out.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from types import TracebackType
from typing import Any, Self, cast

import msgspec

import inorder
from inorder.codecs.json import JsonCodec
from inorder.core.changes import Changes
from inorder.core.entity import Entity
from inorder.core.event import Event, Malformed, Partition, Slice
from inorder.core.rows import EntityRow, HeldRow
from inorder.declaration import declaration_of
from inorder.ports import Source, Store, Transaction
from inorder.wiring import open_source, open_store
from inorder.worker import assemble
from inorder.worker import worker as loop
from inorder.worker.assemble import Assembled
from inorder.worker.settings import Settings
from tests.worker.consumers import Entry, declare

LIMITS = inorder.Limits(poll_events=5)
ONE = inorder.Limits(poll_events=1, in_flight_events=1)
"""One event at a time, read when the one before is through."""
RETRY = inorder.Retry(attempts=4, delay_s=0.01, factor=1)
UNTIL_IDLE_S = 0.05


class Order(msgspec.Struct):
    """Which worker to run, and where it gets its signal: at the `nth` time that it reaches `step`."""

    kind: str
    source: str
    store: str
    effects: str
    """The file that takes the effects of handlers without `tx`."""
    step: str
    nth: int = 1
    signal: int = signal.SIGKILL
    thaw: int = 0
    """Not a new worker: this frozen one is to go on."""
    fences: bool = True
    """False: a store whose fences never grow and never refuse anybody."""
    revisions: bool = True
    """False: a store that replaces an entity whatever became of it since it was read."""


SERVICE = "service"
"""The kind of a handler without `tx` that keeps the last version of each key at a service, which checks fences."""


class Service:
    """Something outside of inorder's reach: a key's value is what was put last, unless it came with an older fence."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._lock = threading.Lock()
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, version INTEGER, fence INTEGER) WITHOUT ROWID"
        )

    def put(self, key: str, version: int, fence: int) -> bool:
        """Whether it was taken."""
        with self._lock:
            done = self._connection.execute(
                "INSERT INTO kept VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE "
                "SET version = excluded.version, fence = excluded.fence WHERE excluded.fence >= fence",
                (key, version, fence),
            )
        return done.rowcount == 1

    def kept(self) -> dict[str, int]:
        return dict(self._connection.execute("SELECT key, version FROM kept").fetchall())


def consumer(
    kind: str,
    store: str,
    effects: str,
    entered: Callable[[], None] = lambda: None,
    left: Callable[[], None] = lambda: None,
) -> Callable[..., Any]:
    """The consumer of these tests. The third event of key "c" fails; the second of "d" fails once in each process."""
    tried: set[str] = set()

    def act(entry: Entry) -> None:
        entered()
        if (entry.key, entry.version) == ("c", 3):
            raise ValueError("always")
        if (entry.key, entry.version) == ("d", 2) and entry.id not in tried:
            tried.add(entry.id)
            raise ValueError("once")

    def note(entry: Entry) -> None:
        with open(effects, "ab", buffering=0) as file:
            file.write(b"%s %d\n" % (entry.key.encode(), entry.version))
        left()

    if kind == SERVICE:
        service = Service(effects)

        # Whoever is frozen in a handler has nothing else at hand to go on with before it hears of its end.
        @inorder.handler(key="key", version="version", id="id", name="stream", retry=RETRY, limits=ONE)
        def put(entry: Entry, context: inorder.Context) -> None:
            act(entry)
            if not service.put(entry.key, entry.version, context.fence):
                raise PermissionError("an older fence")

        return put
    mark = "%s" if store.startswith("postgresql") else "?"
    return declare(kind, act, note, mark, retry=RETRY, limits=LIMITS)


class Death:
    """Sends this process its signal when its time has come."""

    def __init__(self, step: str, nth: int, number: int = signal.SIGKILL) -> None:
        self._step = step
        self._left = nth
        self._number = number
        self.using_source = threading.RLock()
        self.using_store = threading.RLock()

    def at(self, step: str) -> None:
        """This step is reached."""
        if step == self._step:
            self._left -= 1
            if self._left == 0:
                self._send()

    def _send(self) -> None:
        if self._number == signal.SIGKILL:
            os.kill(os.getpid(), signal.SIGKILL)
        # Whoever is frozen while another of its threads has a file locked would freeze everybody else.
        locks = [lock for lock in (self.using_source, self.using_store) if lock.acquire(timeout=0.5)]
        signal.pthread_kill(threading.get_ident(), self._number)  # this very thread stops before it returns
        for lock in locks:
            lock.release()


class DeadlySource:
    """A source whose worker may die behind each poll and around each commit."""

    def __init__(self, inner: Source, death: Death) -> None:
        self._inner = inner
        self._death = death

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def poll(self, most: int, timeout_s: float) -> list[Slice]:
        with self._death.using_source:
            found = self._inner.poll(most, timeout_s)
        if found:
            self._death.at("polled")
        return found

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        self._death.at("offsets: before")
        with self._death.using_source:
            self._inner.commit(offsets)
        self._death.at("offsets: after")


class DeadlyStore:
    """A store whose worker may die around each use of it, and in the middle of each transaction."""

    def __init__(self, inner: Store, death: Death, fences: bool = True, revisions: bool = True) -> None:
        self._inner = inner
        self._death = death
        self._fences = fences
        self._revisions = revisions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def acquire(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        with self._death.using_store:
            found = self._inner.acquire(partitions)
        self._death.at("fences raised")
        return found if self._fences else dict.fromkeys(partitions, 1)

    def load(self, keys: Sequence[str]) -> dict[str, Entity]:
        found = self._inner.load(keys)
        self._death.at("entities loaded")
        return found

    def held(self, key: str, most: int) -> list[HeldRow]:
        found = self._inner.held(key, most)
        self._death.at("held events read back")
        return found

    def held_together(self, keys: Sequence[str], most: int) -> list[HeldRow]:
        found = self._inner.held_together(keys, most)
        self._death.at("held events read back")
        return found

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with self._death.using_store, self._inner.transaction() as inner:
            transaction = DeadlyTransaction(inner, self._death, self._fences, self._revisions)
            yield cast(Transaction, transaction)
            transaction.at("commit")
        transaction.at("committed")


class DeadlyTransaction:
    """A transaction whose worker may die before, in and after the write, and around the commit.

    Each of these steps is told apart by what is written: holding, releasing or parking, or whatever else.
    """

    def __init__(self, inner: Transaction, death: Death, fences: bool, revisions: bool) -> None:
        self._inner = inner
        self._death = death
        self._fences = fences
        self._revisions = revisions
        self._what: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def at(self, step: str) -> None:
        if self._what:
            self._death.at(step)
        for what in self._what:
            self._death.at(f"{what}: {step}")

    def write(self, rows: Sequence[EntityRow], changes: Changes, fences: Mapping[Partition, int]) -> None:
        parked = changes.letters and any(wait is not None for wait in changes.waits.values())
        self._what = ["any"]
        self._what += ["holding"] * bool(changes.held)
        self._what += ["releasing"] * bool(changes.released)
        self._what += ["parking"] * bool(parked)
        self.at("write")
        if not self._fences:
            fences = {}
        if not self._revisions:
            found = dict(self._inner.execute("SELECT key, revision FROM inorder_entities").fetchall())
            rows = [msgspec.structs.replace(row, expected=found.get(row.key, 0)) for row in rows]
        with _each_statement(self._inner.connection, lambda: self.at("statement")):
            self._inner.write(rows, changes, fences)
        self.at("written")


@contextmanager
def _each_statement(connection: Any, reached: Callable[[], None]) -> Iterator[None]:
    """Calls `reached` before each statement that goes to the database."""
    if hasattr(connection, "set_trace_callback"):
        connection.set_trace_callback(lambda statement: reached())
        yield
        connection.set_trace_callback(None)
        return
    run = connection.run

    def traced(*arguments: Any, **options: Any) -> Any:
        reached()
        return run(*arguments, **options)

    connection.run = traced
    yield
    del connection.run


def work(order: Order) -> None:
    """Run a worker until it is killed, or to the end of the stream."""
    death = Death(order.step, order.nth, order.signal)

    class DeadlyCodec(JsonCodec):
        def read(self, piece: Slice, start: int = 0, stop: int | None = None) -> tuple[list[Event], list[Malformed]]:
            found = super().read(piece, start, stop)
            death.at("decoded")
            return found

    assemble.JsonCodec = DeadlyCodec  # type: ignore[attr-defined]
    loop.END_CHECK_S = loop.POLL_S = 0.02
    function = consumer(
        order.kind, order.store, order.effects, lambda: death.at("handler: begins"), lambda: death.at("handler: ends")
    )
    stream = declaration_of(function).name
    source = cast(Source, DeadlySource(open_source(order.source, stream), death))
    # One at a time for the service: whoever is frozen must not keep its file locked.
    concurrency = 1 if order.kind == SERVICE else 16
    settings = Settings(source=order.source, store=order.store, concurrency=concurrency, worker="deadly")

    def opened() -> Store:
        return cast(Store, DeadlyStore(open_store(order.store, stream), death, order.fences, order.revisions))

    Assembled(declaration_of(function), settings, source, opened).loop.run(UNTIL_IDLE_S)


class Crasher(AbstractContextManager["Crasher"]):
    """The server, from the outside."""

    def __enter__(self) -> Self:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.worker.crashing"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()

    def kill(self, order: Order) -> None:
        """Run a worker, and see that it was killed at the step that was asked for."""
        _, status = self._ask(order)
        assert status == -signal.SIGKILL, f"it ended with {status}, and never came to {order.step} ({order.nth})"

    def freeze(self, order: Order) -> int:
        """Run a worker, and see that it was stopped at the step that was asked for. Returns its number."""
        pid, status = self._ask(msgspec.structs.replace(order, signal=signal.SIGSTOP))
        assert status == -signal.SIGSTOP, f"it ended with {status}, and never came to {order.step} ({order.nth})"
        return pid

    def thaw(self, pid: int, order: Order) -> None:
        """Let a frozen worker go on. It comes to the end of the stream."""
        _, status = self._ask(msgspec.structs.replace(order, thaw=pid))
        assert status == 0

    def run(self, order: Order) -> None:
        """Run a worker to the end of the stream."""
        _, status = self._ask(order)
        assert status == 0

    def _ask(self, order: Order) -> tuple[int, int]:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(msgspec.json.encode(order) + b"\n")
        self._server.stdin.flush()
        pid, status = map(int, self._server.stdout.readline().split())
        return pid, status


def _serve() -> None:
    # What every worker needs is imported once, before they are forked.
    for module in ("sources.embedded", "stores.sqlite", "stores.postgres", "worker.lane_runner"):
        import_module(f"inorder.{module}")
    frozen: set[int] = set()
    for line in sys.stdin.buffer:
        order = msgspec.json.decode(line, type=Order)
        if pid := order.thaw:
            frozen.discard(pid)
            os.kill(pid, signal.SIGCONT)
        else:
            pid = _fork(order)
        _, status = os.waitpid(pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            frozen.add(pid)
            print(pid, -os.WSTOPSIG(status), flush=True)
        else:
            print(pid, os.waitstatus_to_exitcode(status), flush=True)
    for pid in frozen:
        os.kill(pid, signal.SIGKILL)


def _fork(order: Order) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work(order)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


if __name__ == "__main__":
    _serve()
