"""Dead letters from a queue's own dead-letter queue, and copies of letters to a queue."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import inorder
from inorder.core.event import Partition
from inorder.deadletters.bridges import exporting, importing, queue
from inorder.deadletters.operating import Operator
from inorder.sources import sqs_record
from inorder.stores.sqlite import SqliteStore
from tests.services import ElasticMQ
from tests.sqs.places import TestQueue, on_elasticmq, until
from tests.sqs.scene import VISIBILITY_S, Scene, e
from tests.worker.consumers import Entry

BY = Operator("tester", "because", 1_800_000_000.0)


@inorder.fold(key="key", version="version", id="id", name="stream")
def account(state: list[int] | None, entry: Entry) -> list[int]:
    return [*(state or []), entry.version]


def letters(path: Path) -> list[Any]:
    store = SqliteStore(str(path), "stream")
    try:
        return [row.letter for row in store.letters()]
    finally:
        store.close()


def test_a_redriven_run_becomes_letters_and_the_queue_is_emptied(scene: Scene, tmp_path: Path) -> None:
    """Another consumer failed at the first of a run; the service moved all of it, also what was never tried."""
    dead = scene.server.create_fifo(f"dead-{scene.name}")
    source = scene.server.create_fifo(f"low-{scene.name}", VISIBILITY_S, dlq=dead.name, max_receives=2)
    scene.queue = source
    scene.send("k", e("k", 1), e("k", 2), "no event")
    for _ in range(2):
        scene.others_turn()
        scene.pass_time(VISIBILITY_S + 1)
    assert scene.others_turn() == []
    url, path = scene.url.replace(scene.name, dead.name), tmp_path / "store.db"
    found = importing.import_letters(account, f"sqlite:///{path}", url, BY)
    assert (found.read, found.imported, found.unreadable) == (3, 3, 1)
    until("it is empty", lambda: not dead.messages)
    one, two, bad = letters(path)
    assert [(one.key, one.version, one.event_id), (two.key, two.version)] == [("k", 1, "k-1"), ("k", 2)]
    assert one.record.partition == Partition(source.name, 0)
    assert one.detail == f"Redriven: moved here by {source.name}'s redrive policy, received 3 times"
    assert bad.reason.value == "malformed"
    assert importing.import_letters(account, f"sqlite:///{path}", url, BY).read == 0


def test_the_headers_are_those_that_the_source_writes() -> None:
    assert (queue.SOURCE, queue.RECEIVES) == (sqs_record.SOURCE, sqs_record.RECEIVES)


def test_letters_are_taken_over_from_a_real_dead_letter_queue(sqs: ElasticMQ, tmp_path: Path) -> None:
    dead = on_elasticmq(sqs)
    name = f"low{time.monotonic_ns()}.fifo"
    sqs.create_fifo(name, 1, dlq=dead.url, max_receives=1)
    source = TestQueue(sqs.endpoint, name)
    source.send("k", [f'{{"key":"k","version":{n},"id":"k-{n}"}}' for n in (1, 2)])
    until("it is received", lambda: len(source.receive()) == 2)
    until("it is moved", lambda: source.receive() == [] and sum(dead.counts()) == 2)
    path = tmp_path / "store.db"
    assert importing.import_letters(account, f"sqlite:///{path}", dead.source_url(wait_s=0), BY).imported == 2
    assert [(one.key, one.version) for one in letters(path)] == [("k", 1), ("k", 2)]
    assert dead.counts() == (0, 0)


def test_letters_are_copied_to_a_queue_with_all_that_is_known_of_them(scene: Scene) -> None:
    bench = scene.bench("fold")

    def act(entry: Entry) -> None:
        raise inorder.Poison("refused")

    working, _ = scene.start(bench, act)
    scene.send("g", e("k", 1))
    until("it is a letter", lambda: bench.dead() == [("k", 1, "failed")] and scene.left() == [])
    assert working.stop()
    watched = scene.server.create_fifo(f"watched-{scene.name}")
    url = scene.url.replace(scene.name, watched.name)
    assert exporting.export_letters(bench.look, url, BY).copied == 1
    scene.name, scene.url = watched.name, url
    record = scene.take(scene.source(), 1)[0].record(0)
    headers = dict(record.headers)
    assert headers["kafka_dlt-exception-message"] == b"refused"
    assert headers["inorder-version"] == b"1"
    assert b'"key":"k"' in (record.value or b"")
