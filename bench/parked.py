"""What failing keys cost the healthy ones, and whether a replay keeps its pace: `python -m bench.parked`.

1. The same stream twice in turn, from a file into SQLite: once as it is, once with some keys whose first event always
   fails. How fast the events of the healthy keys take effect is compared, round by round.
2. The letters of the failing keys are replayed at a rate for a while, and while the live stream lags behind.

Exit code 6: a limit is not kept.
"""

from __future__ import annotations

import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import App, Parameter

import inorder
from inorder.deadletters.driver import Options
from inorder.deadletters.planning import Choice, make_plan
from inorder.deadletters.replay import Controls, run_plan
from inorder.wiring import open_store

KEEP = 0.9
"""The share of their throughput that healthy keys must keep."""
OFF = 0.05
"""How far a replay may be from its rate."""

app = App(name="bench.parked", help=__doc__, version_flags=[], result_action="return_value")


POST = "INSERT INTO totals VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET amount = amount + excluded.amount"
ERRORS = {"poison": inorder.Poison, "transient": ValueError}


class Entry(msgspec.Struct):
    """One event."""

    key: str
    version: int
    id: str
    amount: int


class Watched:
    """A consumer that fails for the first event of some keys, and notes when healthy events took effect."""

    def __init__(self, failing: set[str], kind: str, error: type[Exception]) -> None:
        self.failing = failing
        self.kind = kind
        self.error = error
        self.first = self.last = 0.0
        self.healthy = 0

    def consumer(self) -> Callable[..., Any]:
        """The consumer, of the kind that is measured."""
        declared = {"key": "key", "version": "version", "id": "id", "name": "parked"}
        options: dict[str, Any] = {**declared, "retry": inorder.Retry(delay_s=0.05, factor=2)}
        if self.kind == "fold":

            @inorder.fold(**options)
            def total(state: int | None, entry: Entry) -> int:
                self._note(entry)
                return (state or 0) + entry.amount

            return total
        if self.kind == "tx":

            @inorder.handler(**options)
            def post(entry: Entry, tx: inorder.Transaction) -> None:
                self._note(entry)
                tx.execute(POST, (entry.key, entry.amount))

            return post

        @inorder.handler(**options)
        async def call(entry: Entry) -> None:
            self._note(entry)

        return call

    def _note(self, entry: Entry) -> None:
        if entry.key in self.failing:
            raise self.error("always")
        self.last = time.perf_counter()
        self.first = self.first or self.last
        self.healthy += 1

    @property
    def named(self) -> str:
        """The arm of the comparison."""
        return "failing" if self.failing else "healthy"

    @property
    def per_second(self) -> float:
        """Healthy events a second."""
        return self.healthy / (self.last - self.first)


def name(number: int) -> str:
    """A key: those that follow each other in the stream do not in the store."""
    return f"k{number * 7919 % 1_000_003:07}"


@app.default
def main(
    *,
    keys: Annotated[int, Parameter(help="Keys of the stream")] = 100_000,
    failing: Annotated[int, Parameter(help="Keys whose first event always fails")] = 1_000,
    events: Annotated[int, Parameter(help="Events of each key")] = 4,
    rounds: Annotated[int, Parameter(help="Rounds of both arms")] = 3,
    rate: Annotated[float, Parameter(help="Events a second of the replay")] = 50.0,
    seconds: Annotated[float, Parameter(help="How long the replay is watched; 0 leaves it out")] = 60.0,
    kind: Annotated[Literal["fold", "tx", "call"], Parameter(help="What kind of handler")] = "fold",
    error: Annotated[
        Literal["poison", "transient"], Parameter(help="Given up on at once, or after four attempts")
    ] = "poison",
) -> int:
    """Measure, and print what was found."""
    with tempfile.TemporaryDirectory(prefix="inorder-parked-") as made:
        folder = Path(made)
        stream = folder / "stream.jsonl"
        write(stream, keys, events)
        # Spread over the stream evenly: each batch has its share of them.
        bad = {name(number * keys // failing) for number in range(failing)}
        arms = Watched(set(), kind, ERRORS[error]), Watched(bad, kind, ERRORS[error])
        kept = [round_of(folder, stream, arms, number) for number in range(rounds)]
        median = statistics.median(kept)
        each = ", ".join(f"{one:.1%}" for one in kept)
        print(f"{kind}, {error}: healthy keys keep {median:.1%} of their throughput (rounds: {each})")
        within = not seconds or paced(folder, kind, rate, seconds)
    return 0 if median >= KEEP and within else 6


def write(stream: Path, keys: int, events: int) -> None:
    """All first events, then all second ones, and so on: a failing key has failed before its next event comes."""
    with stream.open("wb") as file:
        for version in range(1, events + 1):
            for number in range(keys):
                entry = Entry(name(number), version, f"{number}-{version}", version)
                file.write(msgspec.json.encode(entry) + b"\n")


def round_of(folder: Path, stream: Path, arms: tuple[Watched, Watched], number: int) -> float:
    """Run both arms, one of them first in turn; returns the share that is kept."""
    for arm in arms if number % 2 else arms[::-1]:
        store = folder / f"{arm.named}.db"
        for old in folder.glob(f"{arm.named}.db*"):
            old.unlink()
        with sqlite3.connect(store) as own:
            own.execute("CREATE TABLE totals (key TEXT PRIMARY KEY, amount INTEGER) WITHOUT ROWID")
        arm.first, arm.healthy, began = 0.0, 0, time.process_time()
        report = inorder.run(arm.consumer(), source=str(stream), store=f"sqlite:///{store}", until_idle_s=0.3)
        cpu = (time.process_time() - began) / report.received * 1e6
        print(
            f"round {number + 1}, {len(arm.failing):,} failing keys: {arm.per_second:,.0f} healthy events/s, "
            f"{cpu:.1f} us of CPU an event, {report.outcomes['dead_lettered']:,} dead letters, "
            f"{report.outcomes['parked']:,} wait behind them"
        )
    return arms[1].per_second / arms[0].per_second


def paced(folder: Path, kind: str, rate: float, seconds: float) -> bool:
    """Replay at a rate for a while, then stand still while the live stream lags; returns whether both were kept."""
    url = f"sqlite:///{folder / 'failing.db'}"
    consumer = Watched(set(), kind, inorder.Poison).consumer()
    if make_plan(consumer, url, Choice(), handler="bench.parked:total", actor="bench", rehearse=False) is None:
        return True
    look = open_store(url, "parked")
    before = look.counts().get("replayed", 0) + look.counts().get("applied", 0)
    stop, lagging = threading.Event(), threading.Event()
    controls = Controls(stop=stop, lag=lambda: 5_000 if lagging.is_set() else 0)
    options = Options(rate=rate, max_lag=1_000)
    running = threading.Thread(
        target=run_plan,
        args=(consumer, url, 1),
        kwargs={"reason": "bench", "actor": "bench", "options": options, "controls": controls},
    )
    began = time.monotonic()
    running.start()
    time.sleep(seconds)
    done, took = done_since(look, before), time.monotonic() - began
    lagging.set()
    time.sleep(2.0)
    standing = done_since(look, before)
    time.sleep(seconds / 5)
    moved = done_since(look, before) - standing
    lagging.clear()
    time.sleep(3.0)
    again = done_since(look, before) - standing - moved
    stop.set()
    running.join()
    look.close()
    found = done / took
    print(f"replay at {rate:g}/s: {found:.2f}/s over {took:.0f} s ({found / rate - 1:+.1%})")
    print(
        f"while the live stream lags, for {seconds / 5:.0f} s: {moved} events; then it goes on: {again} events in 3 s"
    )
    return abs(found / rate - 1) <= OFF and moved == 0 and again > 0


def done_since(look: Any, before: int) -> int:
    """Events that the replay has let take effect, those that waited behind letters included."""
    counts = look.counts()
    return int(counts.get("replayed", 0) + counts.get("applied", 0) - before)


if __name__ == "__main__":
    sys.exit(app())
