"""The same event more than once: sent again, handed out again, tried again.

Four consumers read the same topic. Two add to a balance, two set it; of each sort, one is naive and one inorder's.
"""

from __future__ import annotations

import random
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

import inorder
from inorder.core.event import Record
from inorder.core.order import Outcome
from inorder.lab import disorder, ledger
from inorder.lab.consuming import Group, Guarded, Member, Naive, Notes, Tapped
from inorder.lab.experiments import result
from inorder.lab.ledger import ADD, SET, Entry
from inorder.lab.places import Place, Put, folder_of_a_run, place
from inorder.lab.results import Line, Plot, Request, Result, Table, Verdict
from inorder.wiring import open_store

NAME = "duplicates"
WORKERS = 2
PARTITIONS = 4
FAILING = 0.02
"""This share of the events fails at first: what else there is to do for them, behind the balance, is not there."""
FAILURES = 2
FORGETS_AT = 0.5
"""From this share of the first half on, no offsets are committed; then the workers end as if killed."""
LIMITS = inorder.Limits(poll_events=20, gap_s=600)
RETRY = inorder.Retry(attempts=5, delay_s=0.01)


class Consumer(NamedTuple):
    """One of the four."""

    name: str
    statement: str
    order: str | None
    """None: without inorder."""


CONSUMERS = (
    Consumer("naive, adds", ADD, None),
    Consumer("inorder strict, adds", ADD, "strict"),
    Consumer("naive, sets", SET, None),
    Consumer("inorder latest, sets", SET, "latest"),
)


class Flaky:
    """What else is to be done for an event: it fails the first times, for some."""

    def __init__(self, ids: set[str]) -> None:
        self._ids = ids
        self._tried: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, entry: Entry) -> None:
        with self._lock:
            self._tried[entry.id] += 1
            if entry.id in self._ids and self._tried[entry.id] <= FAILURES:
                raise TimeoutError(f"no answer for {entry.id}")


class Found(NamedTuple):
    """What one consumer came to."""

    consumer: Consumer
    notes: Notes
    path: Path
    counts: dict[str, int]
    causes: Counter[str]
    """Of a naive consumer: why it applied something once more."""


def run(request: Request) -> Result:
    """See `EXPERIMENTS`."""
    stream = entries(request.seed, *((200, 8) if request.small else (600, 30)))
    sent = _sent(request.seed, stream)
    failing = set(random.Random(f"{request.seed}:failing").sample([e.id for e in stream], int(len(stream) * FAILING)))
    with folder_of_a_run() as folder, place(request, folder, PARTITIONS) as where:
        half = len(sent) // 2
        _put(where, sent[:half])
        first = [_Consuming(one, folder, stream, failing) for one in CONSUMERS]
        for one in first:
            one.until_killed(where, half)
        _put(where, sent[half:])
        for one in first:
            one.to_the_end(where)
        return _result(request, stream, sent, [one.found() for one in first])


def entries(seed: int, events: int, accounts: int) -> list[Entry]:
    """`events` entries of `accounts` accounts, as they happened."""
    chance = random.Random(f"{seed}:{NAME}")
    names = [f"acct-{number:02d}" for number in range(1, accounts + 1)]
    balances = dict.fromkeys(names, 0)
    versions = dict.fromkeys(names, 0)
    found = []
    for number in range(events):
        name = names[number] if number < accounts else chance.choice(names)
        amount = chance.randint(-50, 100) or 1
        balances[name] += amount
        versions[name] += 1
        found.append(Entry(name, versions[name], f"e{number + 1}", amount, balances[name]))
    return found


def _sent(seed: int, stream: Sequence[Entry]) -> list[tuple[Entry, disorder.Class | None]]:
    """As a producer sends them that is not idempotent: batches come twice, and behind later ones."""
    script = disorder.script(seed, len(stream))
    return [(stream[one.event], one.why) for batch in script.batches for one in batch]


def _put(where: Place, sent: Sequence[tuple[Entry, Any]]) -> None:
    where.put([Put(entry.account, msgspec.json.encode(entry)) for entry, _ in sent])


class _Consuming:
    """One consumer, with a database of its own."""

    def __init__(self, consumer: Consumer, folder: Path, stream: Sequence[Entry], failing: set[str]) -> None:
        self._consumer = consumer
        self._group = consumer.name.replace(" ", "-").replace(",", "")
        self._path = folder / f"{self._group}.db"
        self._notes = Notes()
        self._flaky = Flaky(failing)
        self._causes: Counter[str] = Counter()
        self._handed: set[tuple[int, int]] = set()
        self._applied: set[str] = set()
        self._lock = threading.Lock()
        ledger.create(self._path, {entry.account for entry in stream})
        self._connection = sqlite3.connect(self._path, timeout=30, check_same_thread=False)
        self._connection.execute("PRAGMA synchronous = NORMAL")

    def until_killed(self, where: Place, deliveries: int) -> None:
        """Work until so many have come, and end without having committed the last of them."""
        arrived = self._notes.arrivals
        self._notes.forgets_after = int(FORGETS_AT * deliveries)
        with Group(self._group, where, WORKERS, self._notes, self._make()) as group:
            group.until("all of it has arrived", lambda: len(arrived) >= deliveries)

    def to_the_end(self, where: Place) -> None:
        """New workers, which begin at what is committed."""
        self._notes.forgets_after = None
        with Group(self._group, where, WORKERS, self._notes, self._make()) as group:
            group.settled()
            if self._consumer.order is not None:
                with closing(open_store(self._url, self._group)) as look:
                    group.until("nothing waits", lambda: look.held_count() == 0)

    def found(self) -> Found:
        """What it came to."""
        self._connection.close()
        counts: dict[str, int] = {}
        if self._consumer.order is not None:
            with closing(open_store(self._url, self._group)) as look:
                counts = look.counts()
        return Found(self._consumer, self._notes, self._path, counts, self._causes)

    @property
    def _url(self) -> str:
        return f"sqlite:///{self._path}"

    def _make(self) -> Callable[[Tapped, str], Member]:
        consumer, flaky = self._consumer, self._flaky

        def naive(source: Tapped, worker: str) -> Member:
            return Naive(self._naively, source)

        def guarded(source: Tapped, worker: str) -> Member:
            @inorder.handler(
                key="account",
                version="version",
                id="id",
                order=consumer.order or "",
                name=self._group,
                limits=LIMITS,
                retry=RETRY,
            )
            def post(entry: Entry, tx: inorder.Transaction) -> None:
                ledger.post(tx.execute, entry, consumer.statement)
                flaky(entry)

            return Guarded(post, self._url, source, worker, self._notes)

        return naive if consumer.order is None else guarded

    def _naively(self, record: Record) -> None:
        """Each entry posted in a transaction of its own; when what comes behind fails, all of it is done again."""
        entry = msgspec.json.decode(record.value or b"", type=Entry)
        place = record.partition.number, record.offset
        for attempt in range(FAILURES + 1):
            with self._lock, self._connection:
                ledger.post(self._connection.execute, entry, self._consumer.statement)
                if entry.id in self._applied:
                    self._causes["tried" if attempt else "handed out" if place in self._handed else "sent"] += 1
                self._applied.add(entry.id)
            self._handed.add(place)
            try:
                self._flaky(entry)
            except TimeoutError:
                continue
            return


def _result(request: Request, stream: Sequence[Entry], sent: Sequence[tuple[Entry, Any]], found: list[Found]) -> Result:
    truth = {entry.account: entry.balance for entry in stream}
    twice = sum(why is disorder.Class.DUPLICATE for _, why in sent)
    wrong = {one.consumer.name: ledger.wrong(one.path, truth) for one in found}
    effects = {one.consumer.name: ledger.effects(one.path) for one in found}
    rows: list[list[str | int | float]] = []
    for one in found:
        name, counts = one.consumer.name, one.counts
        ours = one.consumer.order is not None
        outcomes = [counts.get(outcome, 0) if ours else "" for outcome in _SHOWN]
        rows.append([name, len(one.notes.arrivals), len(effects[name]), *outcomes, len(wrong[name])])
    table = Table(
        title=f"What became of {len(stream)} events of {len(truth)} accounts, sent as {len(sent)} records",
        columns=["consumer", "handed out", "effects", *(outcome.value for outcome in _SHOWN), "wrong accounts"],
        rows=rows,
        note="Effects are counted in the user's own table; applied, duplicate and stale are inorder's own counts. What "
        "a worker had been handed and not decided when it ended has no outcome, and is handed out again.",
    )
    adds, strict, sets, latest = found
    naive = len(wrong[adds.consumer.name]), len(wrong[sets.consumer.name])
    causes = Table(
        title="Why the naive consumer that adds applied an event once more",
        columns=["reason", "effects too many"],
        rows=[
            ["its batch was sent twice, for want of an acknowledgement", adds.causes["sent"]],
            ["it was handed out again: its offset was not committed", adds.causes["handed out"]],
            ["its handler failed behind the effect, and was tried again", adds.causes["tried"]],
        ],
    )
    once = len(effects[strict.consumer.name]) == len(stream) == strict.counts.get(Outcome.APPLIED, 0)
    verdicts = [
        Verdict(
            claim="the naive consumer that adds ends with wrong balances",
            holds=naive[0] > 0,
            shown=f"{naive[0]} of {len(truth)}; of the one that sets, {naive[1]}",
        ),
        Verdict(
            claim="each way of coming twice makes the naive consumer that adds apply something twice",
            holds=all(adds.causes[cause] for cause in ("sent", "handed out", "tried")),
            shown=f"{sum(adds.causes.values())} effects too many",
        ),
        Verdict(
            claim="under strict order every event takes effect once",
            holds=once,
            shown=f"{len(effects[strict.consumer.name])} effects of {len(stream)} events",
        ),
        Verdict(
            claim="both consumers of inorder end with the balances of the right order",
            holds=not wrong[strict.consumer.name] and not wrong[latest.consumer.name],
            shown=f"{len(wrong[strict.consumer.name])} and {len(wrong[latest.consumer.name])} wrong",
        ),
    ]
    setting = (
        f"{twice} records are sent twice, others late or behind later ones; workers end without having committed what "
        f"they did; {int(len(stream) * FAILING)} events fail {FAILURES} times, behind their effect."
    )
    account = max(sorted(truth), key=lambda key: _off(effects, key, truth))
    return result(NAME, request, setting, [table, causes], [_plot(account, stream, effects)], verdicts)


_SHOWN = (Outcome.APPLIED, Outcome.DUPLICATE, Outcome.STALE)


def _off(effects: dict[str, list[ledger.Effect]], key: str, truth: dict[str, int]) -> int:
    mine = [one.balance for one in effects[CONSUMERS[0].name] if one.key == key]
    return abs(mine[-1] - truth[key]) if mine else 0


def _plot(account: str, stream: Sequence[Entry], effects: dict[str, list[ledger.Effect]]) -> Plot:
    def path(consumer: Consumer) -> list[tuple[float, float]]:
        mine = [one for one in effects[consumer.name] if one.key == account]
        return [(float(number), float(one.balance)) for number, one in enumerate(mine, 1)]

    truth = [(float(entry.version), float(entry.balance)) for entry in stream if entry.account == account]
    return Plot(
        name="balance",
        title=f"{account}: its balance after each effect",
        x="effects so far",
        y="balance",
        marks=[
            Line(label="naive, adds", tone="naive", points=path(CONSUMERS[0]), steps=True),
            Line(label="inorder strict, adds", tone="inorder", points=path(CONSUMERS[1]), steps=True),
            Line(label="as it happened", tone="two", points=truth, steps=True, dashed=True),
        ],
    )
