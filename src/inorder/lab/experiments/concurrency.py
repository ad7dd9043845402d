"""Concurrent consumers, many entities at once, and each entity's events in the order of their versions.

The events of an entity arrive out of order. What is measured is when each arrived, and when its handler ran.
"""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

import inorder
from inorder.lab.consuming import Arrival, Group, Guarded, Notes, Tapped
from inorder.lab.experiments import result
from inorder.lab.places import Place, Put, folder_of_a_run, place
from inorder.lab.results import Dots, Line, Links, Plot, Request, Result, Spans, Table, Verdict
from inorder.lab.runlog import now

NAME = "concurrency"
WORKERS = 3
CONCURRENCY = 8
PARTITIONS = 6
EACH = 12
"""Events of an entity."""
DISPLACED = 4.0
"""By up to so many of its entity's events, an event comes too late."""
WORK_S = 0.004, 0.02
"""How long a handler takes, at least and at most: it waits for something else."""
SENT_IN_S = 0.3
BATCHES = 12
TONES = ("one", "two", "three")


class Entry(msgspec.Struct, frozen=True):
    """One event. `work_s` is how long its handler takes."""

    account: str
    version: int
    id: str
    work_s: float


class Ran(NamedTuple):
    """A handler ran, from `began` to `ended`."""

    worker: str
    entry: Entry
    began: float
    ended: float


def run(request: Request) -> Result:
    """See `EXPERIMENTS`."""
    arriving = arrivals(request.seed, 6 if request.small else 12)
    notes, ran = Notes(), list[Ran]()
    with (
        folder_of_a_run() as folder,
        place(request, folder, PARTITIONS) as where,
        Group(NAME, where, WORKERS, notes, _member(folder, notes, ran)) as group,
    ):
        _send(where, arriving)
        group.until("every event has taken effect", lambda: len({one.entry.id for one in ran}) == len(arriving))
        group.settled()
    return _result(request, arriving, notes, sorted(ran, key=lambda one: one.began))


def arrivals(seed: int, entities: int) -> list[Entry]:
    """Every entity's events, in the order they are sent: some behind later ones of their entity."""
    chance = random.Random(f"{seed}:{NAME}")
    names = [f"acct-{number:02d}" for number in range(1, entities + 1)]
    placed = [
        (version + (chance.uniform(0, DISPLACED) if chance.random() < 0.3 else chance.random()), name, version)  # noqa: PLR2004
        for name in names
        for version in range(1, EACH + 1)
    ]
    return [Entry(name, version, f"{name}-{version}", chance.uniform(*WORK_S)) for _, name, version in sorted(placed)]


def _member(folder: Path, notes: Notes, ran: list[Ran]) -> Callable[[Tapped, str], Guarded]:
    def make(source: Tapped, worker: str) -> Guarded:
        @inorder.handler(
            key="account", version="version", id="id", name=NAME, limits=inorder.Limits(poll_events=20, gap_s=600)
        )
        def post(entry: Entry) -> None:
            began = now()
            time.sleep(entry.work_s)
            ran.append(Ran(worker, entry, began, now()))

        return Guarded(post, f"sqlite:///{folder / 'store.db'}", source, worker, notes, CONCURRENCY)

    return make


def _send(where: Place, arriving: list[Entry]) -> None:
    """In batches, at an even pace."""
    size = -(-len(arriving) // BATCHES)
    pause = threading.Event()
    for start in range(0, len(arriving), size):
        batch = arriving[start : start + size]
        where.put([Put(entry.account, msgspec.json.encode(entry)) for entry in batch])
        pause.wait(SENT_IN_S / BATCHES)


def _result(request: Request, arriving: list[Entry], notes: Notes, ran: list[Ran]) -> Result:
    began = min(arrival.at for arrival in notes.arrivals)
    effects: dict[str, list[Ran]] = defaultdict(list)
    for one in ran:
        effects[one.entry.account].append(one)
    came: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for arrival in notes.arrivals:
        entry = _entry(arrival)
        came[entry.account].append((1000 * (arrival.at - began), entry.version))
    early = {name: _inversions(version for _, version in found) for name, found in came.items()}
    shared = request.broker == "sqs"
    calls = {name: [one.entry.version for one in found] for name, found in effects.items()}
    firsts = {name: list(dict.fromkeys(versions)) for name, versions in calls.items()}
    late = sum(map(_inversions, (firsts if shared else calls).values()))
    in_order = sum(versions == list(range(1, EACH + 1)) for versions in firsts.values())
    together = max(_peak((one.began, one.ended) for one in found) for found in effects.values())
    at_once = _peak((one.began, one.ended) for one in ran)
    worked_s = sum(one.ended - one.began for one in ran)
    took_s = max(one.ended for one in ran) - min(one.began for one in ran)
    # The one that arrived most out of order; of several, the first.
    shown = max(sorted(early), key=lambda name: early[name])
    table = Table(
        title="What ran together, and in which order",
        columns=["measure", "figure"],
        rows=[
            ["events", len(arriving)],
            ["entities", len(effects)],
            ["consumers (each with its own source and store)", WORKERS],
            ["events that arrived behind a later one of their entity", sum(early.values())],
            ["events that took effect behind a later one of their entity", late],
            [
                "handlers called again for an event, which may happen where the effect is elsewhere",
                len(ran) - len(arriving),
            ],
            ["events held in the store until their turn", sum(one.outcome == "held" for one in notes.decided)],
            ["most handlers running at one moment", at_once],
            ["most handlers of one entity running at one moment", together],
            ["time in handlers, s", round(worked_s, 3)],
            ["time from the first to the last, s", round(took_s, 3)],
        ],
        note="Workers of a queue share its entities, and each of them may take up what was held. Where two meet at an "
        "entity, a handler without `tx` may be called again for an event, or while another call runs; what is in order "
        "is the first call for each event."
        if shared
        else "",
    )
    setting = (
        f"{WORKERS} consumers with {CONCURRENCY} handlers each on {_spread(request)}; a handler waits "
        f"{1000 * WORK_S[0]:.0f} to {1000 * WORK_S[1]:.0f} ms, as one that calls a service does."
    )
    verdicts = [
        Verdict(
            claim="every entity's events take effect in the order of their versions",
            holds=in_order == len(effects) == len(early) and not late,
            shown=f"{in_order} of {len(early)} entities",
        ),
        Verdict(
            claim="events arrive out of order",
            holds=sum(early.values()) > 0,
            shown=f"{sum(early.values())} behind a later one",
        ),
        Verdict(claim="those of many entities do", holds=at_once > 1, shown=f"up to {at_once}"),
    ]
    if not shared:
        alone = "one entity's handlers never run together"
        verdicts.append(Verdict(claim=alone, holds=together == 1, shown=f"at most {together}"))
    plots = [_timeline(shown, came[shown], effects[shown], began), _gantt(ran, began)]
    return result(NAME, request, setting, [table], plots, verdicts)


def _spread(request: Request) -> str:
    return "one queue" if request.broker == "sqs" else f"{PARTITIONS} partitions"


def _timeline(name: str, came: list[tuple[float, int]], effects: list[Ran], began: float) -> Plot:
    took = [(1000 * (one.ended - began), one.entry.version) for one in effects]
    done = {version: at for at, version in took}
    links = [((at, float(version)), (done[version], float(version))) for at, version in came if version in done]
    return Plot(
        name="timeline",
        title=f"{name}: when each version arrived, and when it took effect",
        x="milliseconds since the first arrival",
        y="version",
        marks=[
            Links(pairs=links),
            Line(label="order of effects", tone="inorder", points=_points(took)),
            Dots(label="arrived", tone="naive", points=_points(came), hollow=True),
            Dots(label="took effect", tone="inorder", points=_points(took)),
        ],
    )


def _gantt(ran: list[Ran], began: float) -> Plot:
    lanes = sorted({one.entry.account for one in ran})
    place_of = {name: place for place, name in enumerate(lanes)}
    marks: list[Any] = []
    for worker, tone in zip(sorted({one.worker for one in ran}), TONES, strict=False):
        bars = [
            (round(1000 * (one.began - began), 2), round(1000 * (one.ended - began), 2), place_of[one.entry.account])
            for one in ran
            if one.worker == worker
        ]
        marks.append(Spans(label=f"consumer {worker}", tone=tone, bars=bars))
    return Plot(
        name="lanes",
        title="Lanes: whose handler ran when, and in which consumer",
        x="milliseconds since the first arrival",
        y="entity",
        lanes=lanes,
        marks=marks,
    )


def _entry(arrival: Arrival) -> Entry:
    return msgspec.json.decode(arrival.value, type=Entry)


def _points(found: Iterable[tuple[float, int]]) -> list[tuple[float, float]]:
    return [(round(at, 2), float(version)) for at, version in found]


def _inversions(versions: Iterable[int]) -> int:
    """How many come behind a higher one."""
    found, highest = 0, 0
    for version in versions:
        found += version < highest
        highest = max(highest, version)
    return found


def _peak(spans: Iterable[tuple[float, float]]) -> int:
    """How many at most are open at one moment. One that ends as another begins was not open with it."""
    changes = sorted((at, change) for began, ended in spans for at, change in ((began, 1), (ended, -1)))
    most = now_open = 0
    for _, change in changes:
        now_open += change
        most = max(most, now_open)
    return most
