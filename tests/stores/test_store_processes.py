"""What every store promises to several processes, and to those that die. Each kind of store passes all of it."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from contextlib import closing
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from tests.stores import other_process
from tests.stores.making import HERE, row, versions, write
from tests.stores.places import Place


def started(target: Callable[..., None], url: str, *arguments: object) -> tuple[BaseProcess, Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(url, theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def say_go(processes: list[tuple[BaseProcess, Connection]]) -> None:
    """Wait until all of them are ready, then let them all go."""
    for _, pipe in processes:
        assert pipe.recv() == "ready"
    for _, pipe in processes:
        pipe.send("go")


def test_processes_may_open_a_new_store_at_the_same_moment(place: Place) -> None:
    processes = [started(other_process.open_and_close, place.url) for _ in range(3)]
    say_go(processes)
    tallies = [pipe.recv() for _, pipe in processes]
    for process, _ in processes:
        process.join()
    assert len(set(tallies)) == 3


def test_two_processes_that_race_never_lose_a_write(place: Place) -> None:
    keys = [f"k{n}" for n in range(20)]
    processes = [started(other_process.advance, place.url, keys, 60) for _ in range(2)]
    say_go(processes)
    refused = [pipe.recv() for _, pipe in processes]
    for process, _ in processes:
        process.join()
    store = place.open()
    assert versions(store) == dict.fromkeys(keys, 120)
    assert store.counts() == {"applied": 120 * len(keys)}
    assert sum(refused) > 0, "they never met, so nothing was shown"


def test_a_killed_process_leaves_what_it_committed_and_nothing_else(place: Place) -> None:
    store = place.open()
    process, pipe = started(other_process.write_until_killed, place.url, 5)
    with closing(pipe):
        said = [pipe.recv() for _ in range(6)]
        process.kill()
        process.join()
    assert said == [0, 1, 2, 3, 4, "inside"]
    assert versions(store) == {f"k{n:03d}": 5 for n in range(200)}
    assert store.counts() == {"received": 1_000}
    assert [event.version for event in store.held("k000", 99)] == [10, 11, 12, 13, 14]

    # Whoever takes over is not kept waiting.
    began = time.monotonic()
    fences = store.acquire([HERE])
    write(store, [row(f"k{n:03d}", 5) for n in range(200)], fences=fences)
    assert time.monotonic() - began < 5
