"""Where an entity's events go: a topic that grows under load, and four choices of the partition key.

What is measured is the disorder in which events arrive, what a naive consumer makes of it, and what it costs inorder.
"""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import msgspec

import inorder
from inorder.core.event import Record
from inorder.core.order import Outcome
from inorder.lab import oracle
from inorder.lab.accounts import Account, Entry, entries, post
from inorder.lab.consuming import PATIENCE_S, Group, Guarded, Member, Naive, Notes, Tapped
from inorder.lab.experiments import result
from inorder.lab.places import Put, folder_of_a_run, place
from inorder.lab.results import Line, Moments, Plot, Request, Result, Table, Verdict
from inorder.lab.runlog import now
from inorder.wiring import open_store

NAME = "repartition"
WORKERS = 2
PARTITIONS = 6
BEFORE, AFTER = 3, 8
"""Partitions of the topic that grows."""
GROWS_AT = 0.2, 0.55
"""Up to the first share of the stream, events are sent at a pace that the workers keep; from there to the second, all
at once, while the handlers stand still, as they do sooner or later; then the topic grows, and they go on."""
SENT_PER_S = 500
AT_ONCE = 20
WORK_S = 0.002
"""What a handler takes for one event."""
BUCKET_S = 0.05
LIMITS = inorder.Limits(poll_events=AT_ONCE // 2, in_flight_events=AT_ONCE, gap_s=600)
"""Small ones: a worker that took all there is at once would have nothing arrive later."""
REGIONS = (("north", 6), ("south", 3), ("east", 1))
"""Where accounts are, and how many of ten are there."""
TONES = ("inorder", "naive", "two", "three")


class Kept(msgspec.Struct, frozen=True):
    """What a consumer keeps of an account."""

    account: Account
    version: int = 0
    disorder: int = 0
    """How often an event took effect that was not the next one."""


def keep(before: Kept | None, entry: Entry) -> Kept:
    """The rule of both consumers. A debit that is not covered at that moment is declined."""
    time.sleep(WORK_S)
    last = before or Kept(Account())
    return Kept(post(last.account, entry), entry.version, last.disorder + (entry.version != last.version + 1))


def region(account: str) -> str:
    """Where an account is."""
    regions = [name for name, share in REGIONS for _ in range(share)]
    return regions[int(account.rpartition("-")[2]) % len(regions)]


class Key(NamedTuple):
    """A choice of the partition key."""

    name: str
    put: Callable[[Entry, random.Random, int], Put]


def _value(entry: Entry) -> bytes:
    return msgspec.json.encode(entry)


KEYS = (
    Key("account", lambda entry, chance, of: Put(entry.account, _value(entry))),
    Key("region", lambda entry, chance, of: Put(region(entry.account), _value(entry))),
    Key("random", lambda entry, chance, of: Put(entry.id, _value(entry), chance.randrange(of))),
    Key("no key", lambda entry, chance, of: Put(None, _value(entry))),
)


class Found(NamedTuple):
    """What one run came to."""

    notes: Notes
    busiest: float
    """The share of the events in the partition that has most of them."""
    naive_wrong: int
    naive_disordered: int
    """Effects that were not the next one of their account."""
    wrong: int
    disordered: int
    began: float
    grown_at: float | None

    def inversions(self) -> list[float]:
        """When an event arrived behind a later one of its account."""
        highest: dict[str, int] = {}
        found = []
        for arrival in self.notes.arrivals:
            entry = msgspec.json.decode(arrival.value, type=Entry)
            if entry.version < highest.get(entry.account, 0):
                found.append(arrival.at - self.began)
            highest[entry.account] = max(highest.get(entry.account, 0), entry.version)
        return found

    def gaps(self) -> list[float]:
        """When an event arrived before its predecessor had."""
        seen: dict[str, set[int]] = {}
        found = []
        for arrival in self.notes.arrivals:
            entry = msgspec.json.decode(arrival.value, type=Entry)
            mine = seen.setdefault(entry.account, {0})
            if entry.version - 1 not in mine:
                found.append(arrival.at - self.began)
            mine.add(entry.version)
        return found

    def effects(self) -> dict[tuple[str, int], float]:
        """When each event took effect. What was decided again, the transaction having been refused, counts once."""
        applied = [one for one in self.notes.decided if one.outcome is Outcome.APPLIED]
        return {(one.key, one.version): one.at - self.began for one in sorted(applied)}

    def waits(self) -> list[tuple[float, float]]:
        """From when to when each event that was held waited for its turn."""
        effects = self.effects()
        held: dict[tuple[str, int], float] = {}
        for one in sorted(self.notes.decided):
            if one.outcome is Outcome.HELD:
                held.setdefault((one.key, one.version), one.at - self.began)
        return [(at, effects[place_of]) for place_of, at in held.items()]

    def again(self) -> int:
        """How many effects were decided once more, because another worker had written the account meanwhile."""
        return sum(one.outcome is Outcome.APPLIED for one in self.notes.decided) - len(self.effects())

    def took_s(self) -> float:
        """From the first arrival to the last effect."""
        return max(self.effects().values())


def run(request: Request) -> Result:
    """See `EXPERIMENTS`."""
    stream = entries(request.seed, *((240, 12) if request.small else (800, 40)))
    with folder_of_a_run() as folder:
        grown = _run(request, folder / "grown", stream, KEYS[0], BEFORE, AFTER)
        chosen = {key.name: _run(request, folder / key.name, stream, key, PARTITIONS) for key in KEYS}
    return _result(request, stream, grown, chosen)


def _run(
    request: Request,
    folder: Path,
    stream: Sequence[Entry],
    key: Key,
    partitions: int,
    grows: int | None = None,
) -> Found:
    """Send the stream: all of it at once, or, to a topic that grows, with a backlog at that moment."""
    folder.mkdir()
    notes, states = Notes(), dict[str, Kept]()
    store = f"sqlite:///{folder / 'store.db'}"
    chance = random.Random(f"{request.seed}:{key.name}")
    where_each: list[int] = []
    go_on = threading.Event()
    go_on.set()
    grown_at: float | None = None
    with (
        place(request, folder, partitions) as where,
        Group("naive", where, WORKERS, Notes(), _naive(states, go_on)) as naive,
        Group(NAME, where, WORKERS, notes, _guarded(store, notes, go_on)) as guarded,
    ):

        def send(part: Sequence[Entry]) -> None:
            where_each.extend(
                number for number, _ in where.put([key.put(one, chance, where.partitions) for one in part])
            )

        began = now()
        if grows is None:
            send(stream)
        else:
            first, then = (int(share * len(stream)) for share in GROWS_AT)
            _paced(stream[:first], send)
            go_on.clear()
            send(stream[first:then])
            where.grow(grows)
            grown_at = now() - began
            rest = then + AT_ONCE
            send(stream[then:rest])
            go_on.set()
            _paced(stream[rest:], send)
        naive.settled()
        guarded.settled()
        with closing(open_store(store, NAME)) as look:
            guarded.until("nothing waits", lambda: not look.held_count())
            kept = {name: msgspec.json.decode(state, type=Kept) for name, _, state in look.states() if state}
    truth: dict[str, Account] = oracle.states(stream, lambda entry: entry.account, post)
    return Found(
        notes=notes,
        busiest=max(where_each.count(number) for number in set(where_each)) / len(where_each),
        naive_wrong=_wrong(states, truth),
        naive_disordered=sum(one.disorder for one in states.values()),
        wrong=_wrong(kept, truth),
        disordered=sum(one.disorder for one in kept.values()),
        began=began,
        grown_at=grown_at,
    )


def _paced(stream: Sequence[Entry], send: Callable[[Sequence[Entry]], None]) -> None:
    pause = threading.Event()
    for start in range(0, len(stream), AT_ONCE):
        send(stream[start : start + AT_ONCE])
        pause.wait(AT_ONCE / SENT_PER_S)


def _wrong(states: dict[str, Kept], truth: dict[str, Account]) -> int:
    return len(oracle.wrong({name: kept.account for name, kept in states.items()}, truth))


def _naive(states: dict[str, Kept], go_on: threading.Event) -> Callable[[Tapped, str], Member]:
    def handle(record: Record) -> None:
        entry = msgspec.json.decode(record.value or b"", type=Entry)
        go_on.wait(PATIENCE_S)
        states[entry.account] = keep(states.get(entry.account), entry)

    return lambda source, worker: Naive(handle, source)


def _guarded(store: str, notes: Notes, go_on: threading.Event) -> Callable[[Tapped, str], Member]:
    def make(source: Tapped, worker: str) -> Member:
        @inorder.fold(key="account", version="version", id="id", name=NAME, limits=LIMITS)
        def account(before: Kept | None, entry: Entry) -> Kept:
            go_on.wait(PATIENCE_S)
            return keep(before, entry)

        return Guarded(account, store, source, worker, notes)

    return make


def _result(request: Request, stream: Sequence[Entry], grown: Found, chosen: dict[str, Found]) -> Result:
    accounts = len({entry.account for entry in stream})
    columns = [
        "partition key",
        "busiest partition, %",
        "arrived behind a later one",
        "naive: effects out of order",
        "naive: wrong accounts",
        "inorder: wrong accounts",
        "held",
        "median wait of those, ms",
        "longest, ms",
        "decided again",
        "last effect after, s",
    ]
    keys = Table(
        title=f"The choice of the key: {len(stream)} events of {accounts} accounts, {PARTITIONS} partitions",
        columns=columns,
        rows=[[name, *_row(found)] for name, found in chosen.items()],
        note=f"Regions are of unequal size; a handler takes {1000 * WORK_S:.0f} ms.",
    )
    growth = Table(
        title=f"Growing from {BEFORE} to {AFTER} partitions, keyed by account",
        columns=["topic", *columns[1:]],
        rows=[["grows under load", *_row(grown)]],
    )
    astray = [chosen["random"], chosen["no key"]]
    right = [grown, *chosen.values()]
    calm = [chosen["account"], chosen["region"]]
    verdicts = [
        Verdict(
            claim="while a topic grows, events of one account overtake each other, and the naive consumer ends wrong",
            holds=bool(grown.inversions() and grown.naive_disordered and grown.naive_wrong),
            shown=f"{len(grown.inversions())} arrive behind a later one, {grown.naive_wrong} accounts wrong",
        ),
        Verdict(
            claim="keyed by account, or by something coarser, they arrive in order",
            holds=not any(found.inversions() for found in calm),
            shown=", ".join(str(len(found.inversions())) for found in calm),
        ),
        Verdict(
            claim="keyed at random or not at all, they do not, and the naive consumer ends wrong",
            holds=all(found.inversions() and found.naive_wrong for found in astray),
            shown=f"{', '.join(str(found.naive_wrong) for found in astray)} of {accounts} accounts wrong",
        ),
        Verdict(
            claim="inorder ends right each time, every event being the next one of its account",
            holds=not any(found.wrong or found.disordered for found in right),
            shown=f"{sum(found.wrong for found in right)} wrong, {sum(found.disordered for found in right)} disordered",
        ),
    ]
    setting = f"{WORKERS} workers each, naive ones and inorder's, on the same topic at the same time."
    return result(NAME, request, setting, [growth, keys], [_over_time(grown), _pace(chosen)], verdicts)


def _row(found: Found) -> list[str | int | float]:
    delays = [1000 * (until - since) for since, until in found.waits()] or [0.0]
    return [
        round(100 * found.busiest, 1),
        len(found.inversions()),
        found.naive_disordered,
        found.naive_wrong,
        found.wrong,
        len(found.waits()),
        round(statistics.median(delays), 1),
        round(max(delays), 1),
        found.again(),
        round(found.took_s(), 2),
    ]


def _over_time(found: Found) -> Plot:
    """How much disorder arrives, and how much waits for it to be over."""
    end = found.took_s()
    buckets = range(int(end / BUCKET_S) + 1)

    def rate(times: Sequence[float]) -> list[tuple[float, float]]:
        return [
            (round(bucket * BUCKET_S, 3), sum(int(at / BUCKET_S) == bucket for at in times) / BUCKET_S)
            for bucket in buckets
        ]

    changes = sorted((at, change) for since, until in found.waits() for at, change in ((since, 1), (until, -1)))
    waiting, held = 0, [(0.0, 0.0)]
    for at, change in changes:
        waiting += change
        held.append((round(at, 3), float(waiting)))
    marks = [
        Line(label="behind a later one, events/s", tone="naive", points=rate(found.inversions()), steps=True),
        Line(label="before their predecessor, events/s", tone="two", points=rate(found.gaps()), steps=True),
        Line(label="held in the store, events", tone="inorder", points=held, steps=True),
    ]
    return Plot(
        name="growth",
        title=f"From {BEFORE} to {AFTER} partitions: the disorder that arrives, and what inorder holds",
        x="seconds",
        y="events",
        marks=[*marks, Moments(at=[(round(found.grown_at or 0.0, 3), "the topic grows")])],
    )


def _pace(chosen: dict[str, Found]) -> Plot:
    marks = []
    for (name, found), tone in zip(chosen.items(), TONES, strict=True):
        times = sorted(found.effects().values())
        points = [(round(at, 3), float(count)) for count, at in enumerate(times, 1) if count % 5 == 0]
        marks.append(Line(label=f"key: {name}", tone=tone, points=points, dashed=name == "region"))
    return Plot(
        name="keys", title="inorder: effects so far, by the choice of the key", x="seconds", y="effects", marks=[*marks]
    )
