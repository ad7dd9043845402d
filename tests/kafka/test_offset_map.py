"""One offset stands still: what is done beyond it is kept with the commit, and not done again by who comes next."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import inorder
from inorder.core.offset_map import decode
from inorder.declaration import declaration_of
from inorder.sources.kafka import KafkaSource
from inorder.stores.sqlite import SqliteStore
from inorder.worker.assemble import Assembled
from inorder.worker.settings import Settings
from tests.kafka import broker
from tests.kafka.harness import KafkaHarness
from tests.kafka.protocols import PROTOCOLS
from tests.services import KafkaCluster
from tests.sources.harness import until as polled
from tests.sources.test_source_conformance import numbered, owning
from tests.worker.bench import Working, encoded, entries, until
from tests.worker.consumers import Calls, Entry, declare

COUNT = 600
POLL = 20
LIMITS = inorder.Limits(poll_events=POLL, drain_s=0.1)


class Stuck:
    """A topic, a handler without `tx` that stands still at its first event, and workers on them."""

    def __init__(self, harness: KafkaHarness, folder: Path) -> None:
        self.harness = harness
        self.calls = Calls()
        self.gate = threading.Event()
        self._path = str(folder / "store.db")
        slow = encoded(*entries("slow", 1))
        rest = [encoded(*entries(f"key-{number % 10}", number // 10 + 1)) for number in range(COUNT)]
        harness.produce(0, [slow, *rest])
        self._working: list[Working] = []

    def _store(self) -> SqliteStore:
        return SqliteStore(self._path, "stream")

    def _act(self, entry: Entry) -> None:
        if entry.key == "slow":
            self.gate.wait(30)

    def start(self) -> Working:
        function = declare("call", self._act, self.calls.note, limits=LIMITS)
        source = self.harness.open()
        parts = Assembled(declaration_of(function), Settings(source="", concurrency=4), source, self._store)
        self._working.append(Working(parts, None))
        return self._working[-1]

    def counts(self, working: Working) -> dict[str, int]:
        store = self._store()
        try:
            return store.counts([working.tally])
        finally:
            store.close()

    def note(self) -> list[tuple[int, int]]:
        """What the group's commit says is done beyond it."""
        offset, text = broker.noted(self.harness).get(0, (0, ""))
        return decode(offset, text)

    def stand(self) -> Working:
        """A worker that has done all but the first event, and says so."""
        working = self.start()
        until("the rest is noted", lambda: self.note()[-1:] == [(POLL, COUNT + 1)], 30)
        assert broker.noted(self.harness)[0][0] == 0, "nothing is committed past what stands still"
        return working

    def finish(self) -> dict[str, int]:
        """Another worker does what is left. Returns what it counted."""
        self.gate.set()
        working = self.start()
        until("all is committed", lambda: broker.noted(self.harness)[0] == (COUNT + 1, ""), 30)
        assert working.stop()
        done = self.calls.by_key()
        assert done.pop("slow")
        assert done == {f"key-{n}": list(range(1, COUNT // 10 + 1)) for n in range(10)}, "each once, in order"
        return self.counts(working)

    def close(self) -> None:
        self.gate.set()
        for working in self._working:
            if not working.ended:
                working.ask_to_stop()
        for working in self._working:
            if not working.ended:
                working.wait(30)


@pytest.fixture
def stuck(harness: KafkaHarness, tmp_path: Path) -> Iterator[Stuck]:
    made = Stuck(harness, tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("harness", ["cooperative", "kip848"], indirect=True)
def test_a_restart_behind_one_slow_offset_redoes_only_what_was_polled_with_it(stuck: Stuck) -> None:
    assert not stuck.stand().stop(), "its first handler still runs"
    counts = stuck.finish()
    assert counts["received"] <= POLL
    assert counts["applied"] >= 1


@pytest.mark.parametrize("harness", ["cooperative"], indirect=True)
def test_without_the_note_everything_beyond_is_decided_again(stuck: Stuck) -> None:
    stuck.stand().stop()
    broker.commit(stuck.harness, 0, metadata="i1:" + "A" * 3000)
    counts = stuck.finish()
    assert counts["received"] == COUNT + 1
    assert counts["duplicate"] >= COUNT - POLL


@pytest.mark.parametrize("harness", ["cooperative"], indirect=True)
def test_a_group_that_is_put_back_gets_everything_again(stuck: Stuck) -> None:
    """Whoever sets the offsets of a group writes no note, or one that belongs to another offset."""
    stuck.stand().stop()
    _, note = broker.noted(stuck.harness)[0]
    broker.commit(stuck.harness, 1, metadata=note)
    working = stuck.start()
    until("all came again", lambda: stuck.counts(working).get("received") == COUNT, 30)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_note_comes_with_the_offset_it_was_committed_with(kafka: KafkaCluster, protocol: str) -> None:
    harness = KafkaHarness(kafka, protocol)
    harness.produce(0, numbered(10))
    first = owning(harness)
    polled("all came", lambda: len(first.received) == 10, first)
    assert isinstance(first.source, KafkaSource)
    assert first.source.noted(first.owned) == {}, "the group has committed nothing"
    first.source.note({first.partition(0): "a note", first.partition(7): "not ours"})
    first.commit({0: 4})
    first.source.close()
    second = owning(harness)
    assert isinstance(second.source, KafkaSource)
    assert second.source.noted(second.owned) == {second.partition(0): (4, "a note")}
    polled("the rest came", lambda: second.values() == numbered(10)[4:], second)
    second.commit({0: 10})
    second.source.close()
    assert broker.noted(harness) == {0: (10, "")}, "a note is of one commit"
    harness.close()


@pytest.mark.parametrize("harness", ["cooperative"], indirect=True)
def test_where_notes_are_too_long_for_the_broker_offsets_are_committed_without(harness: KafkaHarness) -> None:
    harness.produce(0, numbered(10))
    consumer = owning(harness)
    polled("all came", lambda: len(consumer.received) == 10, consumer)
    assert isinstance(consumer.source, KafkaSource)
    consumer.source.note({consumer.partition(0): "x" * 5000})
    consumer.commit({0: 4})
    polled("it is committed", lambda: broker.noted(harness).get(0) == (4, ""), consumer)
    consumer.source.note({consumer.partition(0): "short"})
    consumer.commit({0: 5})
    polled("the next one is too", lambda: broker.noted(harness).get(0) == (5, ""), consumer)
