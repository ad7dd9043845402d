"""Keys that wait in the store, where every worker of a queue may look after them: one does, and only one."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

import inorder
from inorder.sources.sqs_url import parse
from inorder.worker.claims import Claims
from tests.sqs.places import PATIENCE_S, until
from tests.sqs.scene import Scene, SourceOfTest, e
from tests.worker.bench import Bench
from tests.worker.consumers import Entry

PATIENT = inorder.Retry(attempts=9, delay_s=0.05, factor=1)


def retried_by_two(scene: Scene, bench: Bench) -> Counter[tuple[str, int]]:
    """A retry that takes long, beside a worker that keeps looking for keys that nobody looks after. Its calls."""
    failed, inside, go_on = threading.Event(), threading.Event(), threading.Event()

    def act(entry: Entry) -> None:
        if entry.version == 1 and not failed.is_set():
            failed.set()
            raise RuntimeError("once")
        if entry.version == 1:
            inside.set()
            go_on.wait(PATIENCE_S)

    workers = [scene.start(bench, act, retry=PATIENT, worker=name)[0] for name in ("1", "2")]
    scene.send("g", e("k", 1), e("k", 2))
    assert inside.wait(PATIENCE_S)
    looked = threading.Event()
    threading.Timer(1.5, looked.set).start()  # ten looks of the other one
    looked.wait()
    go_on.set()
    until("both took effect", lambda: bench.count("applied") == 2)
    for working in workers:
        assert working.stop()
    return Counter(bench.entered)


def test_a_key_that_is_being_retried_is_left_alone_by_the_others(scene: Scene) -> None:
    bench = scene.bench("call")
    assert retried_by_two(scene, bench) == {("k", 1): 2, ("k", 2): 1}
    assert bench.effects() == {"k": [1, 2]}


def test_without_claims_two_workers_call_the_handler_for_one_key(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def always(*_: object) -> bool:
        return True

    monkeypatch.setattr(Claims, "take", always)
    monkeypatch.setattr(Claims, "holds", lambda *_: True)
    assert retried_by_two(scene, scene.bench("call"))["k", 1] > 2


@pytest.mark.parametrize("kind", ["fold", "tx", "call"])
def test_a_worker_does_not_end_as_idle_while_the_retry_of_another_is_due(scene: Scene, kind: str) -> None:
    bench, failing = scene.bench(kind), threading.Event()
    failing.set()

    def act(entry: Entry) -> None:
        if entry.version == 1 and failing.is_set():
            raise RuntimeError("not yet")

    first, _ = scene.start(bench, act, retry=inorder.Retry(attempts=9, delay_s=0.6, factor=1))
    scene.send("g", e("k", 1), e("k", 2))
    until("it waits", lambda: bench.count("retries") == 1 and scene.left() == [])
    first.stop()
    failing.clear()
    idle = bench.start(bench.declare(act), SourceOfTest(parse(scene.url), scene.clock), until_idle_s=0.1, worker="2")
    assert idle.wait(PATIENCE_S)
    assert bench.effects() == {"k": [1, 2]}


@pytest.mark.parametrize("kind", ["fold", "call"])
def test_many_keys_that_fail_and_wait_are_shared_out_between_two_workers(scene: Scene, kind: str) -> None:
    bench, lock = scene.bench(kind), threading.Lock()
    failures: Counter[tuple[str, int]] = Counter()

    def act(entry: Entry) -> None:
        with lock:
            if entry.version % 3 == 0 and failures[entry.key, entry.version] < 2:
                failures[entry.key, entry.version] += 1
                raise RuntimeError("twice")

    keys = [f"k{number}" for number in range(12)]
    for version in (1, 3, 2, 4, 6, 5):
        for key in keys:
            scene.send(key if version % 2 else f"stray {key}", e(key, version))
    workers = [scene.start(bench, act, retry=PATIENT, worker=name)[0] for name in ("1", "2")]
    until("all took effect", lambda: bench.count("applied") == 72)
    until("all is deleted", lambda: scene.left() == [])
    for working in workers:
        assert working.stop()
    found = bench.effects()
    assert found.keys() == set(keys)
    assert all(list(dict.fromkeys(versions)) == [1, 2, 3, 4, 5, 6] for versions in found.values())
    if kind == "fold":
        assert all(len(versions) == 6 for versions in found.values())
