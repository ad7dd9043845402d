"""One disordered stream through the embedded broker, Kafka and SQS, into the same consumer: what is the same.

Each broker keeps the order in which a key's events were sent, and that order is wrong here. Nothing is compared of how
fast they are but for one key, which is `ceiling`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

import inorder
from inorder.lab import disorder, oracle
from inorder.lab.accounts import Account, Entry, entries, post
from inorder.lab.consuming import Group, Guarded, Member, Notes, Tapped
from inorder.lab.experiments import result
from inorder.lab.places import EmbeddedPlace, Place, Put, folder_of_a_run, kafka_place, sqs_place
from inorder.lab.results import Request, Result, Table, Verdict
from inorder.wiring import open_store

NAME = "brokers"
WORKERS = 2
PARTITIONS = 4


class Found(NamedTuple):
    """What one broker's run came to."""

    notes: Notes
    states: dict[str, Account]
    counts: dict[str, int]

    def inversions(self) -> int:
        """First deliveries that arrived behind a later event of their account."""
        highest: dict[str, int] = {}
        found = 0
        for arrival in self.notes.arrivals:
            if not arrival.again:
                entry = msgspec.json.decode(arrival.value, type=Entry)
                found += entry.version < highest.get(entry.account, 0)
                highest[entry.account] = max(highest.get(entry.account, 0), entry.version)
        return found


def run(request: Request) -> Result:
    """See `EXPERIMENTS`."""
    stream = entries(request.seed, *((150, 10) if request.small else (600, 30)))
    script = disorder.script(request.seed, len(stream))
    sent = [stream[one.event] for batch in script.batches for one in batch]
    truth: dict[str, Account] = oracle.states(stream, lambda entry: entry.account, post)
    places: dict[str, Callable[[Path], Place]] = {
        "embedded": lambda folder: EmbeddedPlace(folder, PARTITIONS),
        "Kafka": lambda folder: kafka_place(request.kafka, PARTITIONS),
        "SQS FIFO": lambda folder: sqs_place(request.sqs),
    }
    found = {}
    with folder_of_a_run() as folder:
        for name, opened in places.items():
            mine = folder / name.replace(" ", "-")
            mine.mkdir()
            with _closing(opened(mine)) as where:
                found[name] = _run(where, mine, sent)
    return _result(request, stream, sent, truth, found)


@contextmanager
def _closing(where: Place) -> Iterator[Place]:
    try:
        yield where
    finally:
        where.close()


def _run(where: Place, folder: Path, sent: Sequence[Entry]) -> Found:
    notes = Notes()
    store = f"sqlite:///{folder / 'store.db'}"

    def make(source: Tapped, worker: str) -> Member:
        @inorder.fold(
            key="account", version="version", id="id", name=NAME, limits=inorder.Limits(poll_events=50, gap_s=600)
        )
        def balance(account: Account | None, entry: Entry) -> Account:
            return post(account, entry)

        return Guarded(balance, store, source, worker, notes)

    with Group(NAME, where, WORKERS, notes, make) as group:
        where.put([Put(entry.account, msgspec.json.encode(entry)) for entry in sent])
        with closing(open_store(store, NAME)) as look:
            group.until("everything is decided", lambda: look.counts().get("received", 0) >= len(sent))
            group.until("nothing waits", lambda: not look.held_count())
            group.settled()
            states = {key: msgspec.json.decode(state, type=Account) for key, _, state in look.states() if state}
            counts = look.counts()
    return Found(notes, states, counts)


def _result(
    request: Request,
    stream: Sequence[Entry],
    sent: Sequence[Entry],
    truth: dict[str, Account],
    found: dict[str, Found],
) -> Result:
    table = Table(
        title=f"{len(stream)} events of {len(truth)} accounts, sent as {len(sent)} records",
        columns=["broker", "received", "arrived behind a later one", "held", "applied", "duplicate", "wrong accounts"],
        rows=[
            [
                name,
                one.counts.get("received", 0),
                one.inversions(),
                one.counts.get("early", 0),
                one.counts.get("applied", 0),
                one.counts.get("duplicate", 0),
                len(oracle.wrong(one.states, truth)),
            ]
            for name, one in found.items()
        ],
    )
    wrong = {name: len(oracle.wrong(one.states, truth)) for name, one in found.items()}
    verdicts = [
        Verdict(
            claim="every broker hands the disorder on: it is not the broker that mends it",
            holds=all(one.inversions() for one in found.values()),
            shown=", ".join(f"{name} {one.inversions()}" for name, one in found.items()),
        ),
        Verdict(
            claim="on each of them every event takes effect once, and every account ends right",
            holds=not any(wrong.values())
            and all(one.counts.get("applied", 0) == len(stream) for one in found.values()),
            shown=", ".join(f"{name} {count} wrong" for name, count in wrong.items()),
        ),
    ]
    setting = f"{WORKERS} workers, a fold that takes no time; the SQS is an emulator on this machine."
    return result(NAME, request, setting, [table], [], verdicts, " --kafka … --sqs …")
