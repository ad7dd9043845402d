"""What another process does in the tests of the stores. Each is a target of `multiprocessing`, and talks in a pipe."""

from __future__ import annotations

import time
from multiprocessing.connection import Connection

from inorder.errors import Mismatch
from tests.stores.making import HERE, changes, gap, held, opened, row


def open_and_close(url: str, pipe: Connection) -> None:
    """Open the store at the same moment as others do, and make a tally."""
    pipe.send("ready")
    pipe.recv()
    store = opened(url)
    pipe.send(store.tally("w"))
    store.close()


def advance(url: str, pipe: Connection, keys: list[str], times: int) -> None:
    """Raise the version of every key, again and again, whoever else does the same."""
    store = opened(url)
    tally = store.tally("w")
    pipe.send("ready")
    pipe.recv()
    refused = 0
    for _ in range(times):
        while True:
            loaded = store.load(keys)
            found = {key: loaded[key].revision if key in loaded else 0 for key in keys}
            rows = [row(key, found[key]) for key in sorted(keys)]
            time.sleep(0.001)  # so that the other one gets in between
            try:
                with store.transaction() as tx:
                    tx.write(rows, changes(tally, counts={"applied": len(keys)}), {})
                break
            except Mismatch:
                refused += 1
    pipe.send(refused)
    store.close()


def write_until_killed(url: str, pipe: Connection, stop_at: int) -> None:
    """Commit one batch after the other, saying so; then hang in the middle of one."""
    store = opened(url)
    fences, tally = store.acquire([HERE]), store.tally("w")
    for number in range(stop_at + 1):
        rows = [row(f"k{n:03d}", number, number + 1, waits=True) for n in range(200)]
        what = changes(tally, held=[held("k000", number + 10)], waits={"k000": gap(2)}, counts={"received": 200})
        with store.transaction() as tx:
            tx.write(rows, what, fences)
            if number == stop_at:
                pipe.send("inside")
                time.sleep(600)
        pipe.send(number)
