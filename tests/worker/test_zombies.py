"""A worker that is frozen for longer than its session, and goes on when another has taken over and done its work.

What it was about to write is refused; it notices, forgets what it knew, joins again, and the state is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from inorder.sources.embedded import Message
from inorder.stores.postgres import connections
from inorder.stores.postgres import store as postgres_store
from tests.worker.bench import encoded, entries
from tests.worker.crashing import Crasher
from tests.worker.test_crashing import RIGHT, Stream

CASES = [
    ("fold", "handler: begins", 1),
    ("fold", "handler: begins", 9),
    ("fold", "entities loaded", 2),
    ("fold", "any: committed", 1),
    ("fold", "offsets: before", 1),
    ("tx", "entities loaded", 1),
    ("tx", "entities loaded", 2),
    ("tx", "any: committed", 1),
    ("tx", "offsets: before", 1),
    ("call", "handler: begins", 1),
    ("call", "handler: ends", 5),
    ("call", "any: committed", 1),
    ("call", "offsets: before", 1),
]


@pytest.fixture(scope="module")
def crasher() -> Iterator[Crasher]:
    with Crasher() as found:
        yield found


@pytest.mark.parametrize(("kind", "step", "nth"), CASES, ids=[" ".join(map(str, case)) for case in CASES])
def test_a_worker_frozen_past_its_session_changes_nothing_when_it_goes_on(
    tmp_path: Path, kind: str, step: str, nth: int, crasher: Crasher
) -> None:
    stream = Stream(tmp_path, kind, f"sqlite:///{tmp_path}/store.db")
    zombie = crasher.freeze(stream.order(step, nth))
    stream.finish()
    stream.check()
    before = stream.counts()
    crasher.thaw(zombie, stream.order(step, nth))
    stream.check()
    after = stream.counts()
    assert after["applied"] == before["applied"]
    assert after["dead_lettered"] == before["dead_lettered"]


@pytest.mark.parametrize("kind", ["fold", "tx", "call"])
def test_a_worker_that_was_frozen_forgets_what_it_knew_and_works_on(
    tmp_path: Path, kind: str, crasher: Crasher
) -> None:
    """It had the entities in memory; they have moved on since, and more of their events come once it is back."""
    stream = Stream(tmp_path, kind, f"sqlite:///{tmp_path}/store.db")
    zombie = crasher.freeze(stream.order("any: committed", 3))
    stream.finish()
    more = [*entries("a", 9, 10), *entries("b", 7, 6), *entries("e", 1, 2)]
    stream.broker.append_many("topic", [Message(None, encoded(entry), partition=0) for entry in more])
    crasher.thaw(zombie, stream.order("any: committed", 3))
    stream.produced += len(more)
    stream.check({**RIGHT, "a": list(range(1, 11)), "b": list(range(1, 8)), "e": [1, 2]})


def test_a_worker_frozen_in_a_transaction_of_postgresql_does_not_keep_its_successor_waiting(
    tmp_path: Path, postgres_url: str, crasher: Crasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (connections, postgres_store):
        monkeypatch.setattr(module, "LOCK_S", 0.5)
    stream = Stream(tmp_path, "tx", postgres_url)
    zombie = crasher.freeze(stream.order("any: written", 1))
    stream.finish()
    stream.check()
    crasher.thaw(zombie, stream.order("any: written", 1))
    stream.check()
