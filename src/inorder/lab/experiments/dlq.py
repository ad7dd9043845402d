"""An event fails and becomes a dead letter; live traffic goes on; the bug is fixed; the letter is replayed.

Three consumers read the same topic. The naive one that sets a balance replays the letter over newer state; the one
that skips what is older than its state throws the letter away, and calls that a success; inorder parks the account.
"""

from __future__ import annotations

import random
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import msgspec

import inorder
from inorder.core.event import Record
from inorder.deadletters.driver import Options
from inorder.deadletters.replay import replay
from inorder.lab import ledger
from inorder.lab.consuming import Group, Guarded, Member, Naive, Notes, Tapped
from inorder.lab.experiments import result
from inorder.lab.experiments.duplicates import entries
from inorder.lab.ledger import ADD, SET, Entry
from inorder.lab.places import Place, Put, folder_of_a_run, place
from inorder.lab.results import Dots, Line, Moments, Plot, Request, Result, Table, Verdict
from inorder.lab.runlog import now
from inorder.wiring import open_store

NAME = "dlq"
PARTITIONS = 3
WORKERS = 2
POISONED = 0.25
"""This share of the accounts has an event that the handler fails on."""
BEFORE_REPLAY = 0.6
"""So much of the stream has come when the bug is fixed."""
BATCHES = 12
PACE_S = 0.05
RATE = 400.0
"""Events a second that the replay may apply."""
SAMPLE_S = 0.02
NAIVE, SKIPS, OURS = "naive, sets", "skips what is older, adds", "inorder strict, adds"


class Bug:
    """The handler fails on these events until it is fixed."""

    def __init__(self, ids: set[str]) -> None:
        self.ids = ids
        self.fixed = False

    def strike(self, entry: Entry) -> None:
        """Raise, if this is one of them."""
        if entry.id in self.ids and not self.fixed:
            raise ValueError("cannot be handled yet")


class Replayed(NamedTuple):
    """What the replay of one consumer said of itself."""

    letters: int
    applied: int
    skipped: int


def run(request: Request) -> Result:
    """See `EXPERIMENTS`."""
    stream = entries(request.seed, *((160, 12) if request.small else (600, 24)))
    bug = Bug(_poison(request.seed, stream))
    half = int(BEFORE_REPLAY * len(stream))
    stream = _quieted(stream, half, bug)
    with folder_of_a_run() as folder, place(request, folder, PARTITIONS) as where:
        return _Play(request, stream, half, bug, folder, where).run()


def _poison(seed: int, stream: Sequence[Entry]) -> set[str]:
    """An event in the middle of what some accounts have before the replay: others come behind it."""
    chance = random.Random(f"{seed}:{NAME}")
    early = stream[: int(BEFORE_REPLAY * len(stream))]
    names = sorted({entry.account for entry in stream})
    chosen = chance.sample(names, max(2, int(POISONED * len(names))))
    found = set()
    for name in chosen:
        mine = [entry.id for entry in early if entry.account == name]
        found.add(mine[len(mine) // 2])
    return found


def _quieted(stream: Sequence[Entry], half: int, bug: Bug) -> list[Entry]:
    """Half of the accounts with a letter have no events after the fix: nothing newer mends what a replay breaks."""
    quiet = {entry.account for place, entry in enumerate(e for e in stream if e.id in bug.ids) if place % 2}
    return [entry for place, entry in enumerate(stream) if place < half or entry.account not in quiet]


class _Play:
    """One run, from the first event to the comparison."""

    def __init__(
        self, request: Request, stream: Sequence[Entry], half: int, bug: Bug, folder: Path, where: Place
    ) -> None:
        self._request = request
        self._stream = stream
        self._half = half
        self._bug = bug
        self._where = where
        self._paths = {name: folder / f"{name.split()[0].strip(',')}.db" for name in (NAIVE, SKIPS, OURS)}
        self._letters: dict[str, list[Entry]] = {NAIVE: [], SKIPS: []}
        self._handled: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._samples: list[tuple[float, int, int]] = []
        self._poisoned = {entry.account for entry in stream if entry.id in bug.ids}
        self._connections: dict[str, sqlite3.Connection] = {}
        for name, path in self._paths.items():
            ledger.create(path, {entry.account for entry in stream})
            self._connections[name] = sqlite3.connect(path, timeout=30, check_same_thread=False)

    def run(self) -> Result:
        notes = Notes()
        half = self._half
        over = threading.Event()
        began = now()
        sampling = threading.Thread(target=self._sample, args=(over, began), daemon=True)
        with (
            Group("naive", self._where, 1, Notes(), self._naive(NAIVE)) as naive,
            Group("skips", self._where, 1, Notes(), self._naive(SKIPS)) as skips,
            Group("ours", self._where, WORKERS, notes, self._ours()) as ours,
        ):
            sampling.start()
            try:
                self._send(self._stream[:half])
                self._until_handled(naive, skips, ours, half)
                with closing(open_store(self._url, NAME)) as look:
                    parked, waiting = look.parked_count(), look.held_count()
                before = {name: len(self._wrong(name, half)) for name in self._paths}
                fixed_at = now() - began
                self._bug.fixed = True
                live = threading.Thread(target=self._send, args=(self._stream[half:],), daemon=True)
                live.start()
                replayed = {name: self._replay_naively(name) for name in (NAIVE, SKIPS)}
                done = replay(
                    self._consumer(), self._url, reason="the bug is fixed", options=Options(rate=RATE, canary=1)
                ).sums
                replayed[OURS] = Replayed(done.selected, done.applied, done.skipped)
                replayed_at = now() - began
                live.join()
                self._until_handled(naive, skips, ours, len(self._stream))
                with closing(open_store(self._url, NAME)) as look:
                    ours.until("nothing waits", lambda: not look.held_count())
            finally:
                over.set()
                sampling.join()
        moments = [(fixed_at, "fixed: replay begins"), (replayed_at, "ends")]
        return self._result(parked, waiting, before, replayed, moments)

    @property
    def _url(self) -> str:
        return f"sqlite:///{self._paths[OURS]}"

    def _until_handled(self, naive: Group, skips: Group, ours: Group, events: int) -> None:
        """Wait until each consumer has done with so many."""
        for name, group in ((NAIVE, naive), (SKIPS, skips)):
            group.until("the naive consumers are through", lambda name=name: self._handled[name] >= events)  # type: ignore[misc]
        with closing(open_store(self._url, NAME)) as look:
            ours.until("inorder is through", lambda: look.counts().get("received", 0) >= events)

    def _send(self, stream: Sequence[Entry]) -> None:
        size = -(-len(stream) // BATCHES)
        pause = threading.Event()
        for start in range(0, len(stream), size):
            batch = stream[start : start + size]
            self._where.put([Put(entry.account, msgspec.json.encode(entry)) for entry in batch])
            pause.wait(PACE_S)

    def _consumer(self) -> Callable[..., None]:
        @inorder.handler(
            key="account",
            version="version",
            id="id",
            name=NAME,
            retry=inorder.Retry(attempts=1),
            limits=inorder.Limits(poll_events=50, gap_s=600),
        )
        def post(entry: Entry, tx: inorder.Transaction) -> None:
            self._bug.strike(entry)
            ledger.post(tx.execute, entry, ADD)

        return post

    def _ours(self) -> Callable[[Tapped, str], Member]:
        return lambda source, worker: Guarded(self._consumer(), self._url, source, worker, Notes())

    def _naive(self, name: str) -> Callable[[Tapped, str], Member]:
        def handle(record: Record) -> None:
            entry = msgspec.json.decode(record.value or b"", type=Entry)
            try:
                self._bug.strike(entry)
            except ValueError:
                self._letters[name].append(entry)
            else:
                self._post(name, entry)
            self._handled[name] += 1

        return lambda source, worker: Naive(handle, source)

    def _post(self, name: str, entry: Entry) -> bool:
        """Let it take effect, as this consumer does. Returns whether it did."""
        connection = self._connections[name]
        with self._lock, connection:
            if name == SKIPS:
                newest = connection.execute("SELECT max(version) FROM effect WHERE key = ?", (entry.account,))
                if (newest.fetchone()[0] or 0) >= entry.version:
                    return False
            ledger.post(connection.execute, entry, SET if name == NAIVE else ADD)
            return True

    def _replay_naively(self, name: str) -> Replayed:
        applied = sum(self._post(name, entry) for entry in self._letters[name])
        return Replayed(len(self._letters[name]), applied, len(self._letters[name]) - applied)

    def _wrong(self, name: str, events: int) -> list[str]:
        truth = {entry.account: entry.balance for entry in self._stream[:events]}
        return ledger.wrong(self._paths[name], truth)

    def _sample(self, over: threading.Event, began: float) -> None:
        """How many effects there are of accounts that have a letter, and of the others."""
        poisoned = self._poisoned
        with closing(sqlite3.connect(self._paths[OURS], timeout=30)) as connection:
            while not over.is_set():
                counts = dict(connection.execute("SELECT key, count(*) FROM effect GROUP BY key").fetchall())
                mine = sum(count for key, count in counts.items() if key in poisoned)
                self._samples.append((now() - began, mine, sum(counts.values()) - mine))
                over.wait(SAMPLE_S)

    def _result(
        self,
        parked: int,
        waiting: int,
        before: dict[str, int],
        replayed: dict[str, Replayed],
        moments: list[tuple[float, str]],
    ) -> Result:
        truth = {entry.account: entry.balance for entry in self._stream}
        after = {name: ledger.wrong(path, truth) for name, path in self._paths.items()}
        effects = {name: ledger.effects(path) for name, path in self._paths.items()}
        for connection in self._connections.values():
            connection.close()
        letters = len(self._bug.ids)
        table = Table(
            title=f"{letters} of {len(self._stream)} events fail, in {letters} of {len(truth)} accounts",
            columns=[
                "consumer",
                "wrong before the replay",
                "letters replayed",
                "applied",
                "skipped",
                "wrong after it",
                "effects in the end",
            ],
            rows=[[name, before[name], *replayed[name], len(after[name]), len(effects[name])] for name in self._paths],
            note=f"Before the replay, inorder has {parked} accounts parked, and {waiting} events wait behind their "
            "letters. Wrong before the replay: not what all events so far come to, which nobody can know without them.",
        )
        ordered = all(
            [one.version for one in effects[OURS] if one.key == key] == list(range(1, count + 1))
            for key, count in _versions(self._stream).items()
        )
        went_on = self._flowed(moments[0][0])
        verdicts = [
            Verdict(
                claim="the naive replay puts old balances over newer ones, and they stay where nothing newer comes",
                holds=bool(after[NAIVE]) and replayed[NAIVE].applied == letters,
                shown=f"{len(after[NAIVE])} of {letters} accounts wrong after a replay that says {letters} applied",
            ),
            Verdict(
                claim="a consumer that skips what is older loses the letters, and says nothing of it",
                holds=bool(after[SKIPS]) and replayed[SKIPS].skipped > 0,
                shown=f"{len(after[SKIPS])} accounts wrong, {replayed[SKIPS].skipped} letters skipped",
            ),
            Verdict(
                claim="inorder parks the accounts with a letter, and what comes behind it waits",
                holds=parked == letters and waiting > 0,
                shown=f"{parked} parked, {waiting} waiting",
            ),
            Verdict(
                claim="the other accounts go on meanwhile",
                holds=went_on > 0,
                shown=f"{went_on} effects while the first was parked",
            ),
            Verdict(
                claim="after its replay, beside live traffic, every account has all its events once and in order",
                holds=ordered and not after[OURS],
                shown=f"{len(after[OURS])} wrong, {len(effects[OURS])} effects of {len(self._stream)} events",
            ),
        ]
        setting = (
            f"The handler fails on {letters} events; {100 * BEFORE_REPLAY:.0f} % of the stream has come when it is "
            f"fixed, the rest comes during the replay, of at most {RATE:.0f} events a second."
        )
        account = sorted(after[NAIVE] or self._poisoned)[0]
        plots = [self._flow(moments), _versions_plot(account, effects)]
        return result(NAME, self._request, setting, [table], plots, verdicts)

    def _flowed(self, until: float) -> int:
        """Effects of accounts without a letter, from when those with one had stopped until the fix."""
        seen = [(mine, others) for at, mine, others in self._samples if at <= until]
        if not seen:
            return 0
        return seen[-1][1] - seen[0][1]

    def _flow(self, moments: list[tuple[float, str]]) -> Plot:
        return Plot(
            name="flow",
            title="inorder: effects so far, of accounts with a dead letter and of the others",
            x="seconds",
            y="effects",
            marks=[
                Line(label="other accounts", tone="three", points=[(round(at, 3), o) for at, _, o in self._samples]),
                Line(
                    label="accounts with a letter",
                    tone="inorder",
                    points=[(round(at, 3), mine) for at, mine, _ in self._samples],
                ),
                Moments(at=[(round(at, 3), word) for at, word in moments]),
            ],
        )


def _versions(stream: Sequence[Entry]) -> dict[str, int]:
    return {entry.account: entry.version for entry in stream}


def _versions_plot(account: str, effects: dict[str, list[ledger.Effect]]) -> Plot:
    def path(name: str) -> list[tuple[float, float]]:
        mine = [one for one in effects[name] if one.key == account]
        return [(float(number), float(one.version)) for number, one in enumerate(mine, 1)]

    return Plot(
        name="versions",
        title=f"{account}: which version took effect as the first, the second, …",
        x="effects so far",
        y="version",
        marks=[
            Line(label=NAIVE, tone="naive", points=path(NAIVE)),
            Line(label=SKIPS, tone="two", points=path(SKIPS), dashed=True),
            Line(label=OURS, tone="inorder", points=path(OURS)),
            Dots(label="the naive replay", tone="naive", points=_backwards(path(NAIVE))),
        ],
    )


def _backwards(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [after for before, after in pairwise(points) if after[1] < before[1]]
