"""A retry that a dead member of the group has left is not left behind by a worker that runs until all is at rest."""

from __future__ import annotations

from collections.abc import Sequence

import inorder
from inorder.core.event import Partition
from inorder.sources.embedded import EmbeddedSource
from tests.worker.bench import GROUP, TOPIC, Bench, entries, until
from tests.worker.conftest import kinds
from tests.worker.consumers import Entry


class Dead:
    """A member that has been given partitions and is not heard of again."""

    def assigned(self, partitions: Sequence[Partition]) -> None:
        self.has = list(partitions)

    def revoked(self, partitions: Sequence[Partition]) -> None:
        pass

    def lost(self, partitions: Sequence[Partition]) -> None:
        pass


@kinds("fold", "async call")
def test_a_worker_stays_until_what_a_dead_one_was_to_retry_is_done(bench: Bench) -> None:
    fails = True

    def act(entry: Entry) -> None:
        if fails:
            raise ValueError("not yet")

    consumer = bench.declare(act, retry=inorder.Retry(attempts=9, delay_s=0.2, factor=1))
    bench.produce(*entries("a", 1))
    first = bench.start(consumer)
    until("it waits for its retry, and is settled", lambda: bench.waiting("a") == [1] and bench.committed())
    first.stop()
    fails = False
    dead = EmbeddedSource(bench.path.parent / "broker.db", TOPIC, GROUP, session_timeout_s=0.5)
    keeps = Dead()
    dead.subscribe(keeps)
    until("it has them all", lambda: dead.poll(1, 0.02) == [] and len(getattr(keeps, "has", ())) == 4)
    bench.work(consumer)
    assert bench.effects() == {"a": [1]}
    dead.close()
