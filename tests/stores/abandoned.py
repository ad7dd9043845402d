"""`python -m tests.stores.abandoned FOLDER TIMES`: stores that are abandoned while another thread writes.

A process of its own: where threads wait for each other within SQLite, not even a time limit runs any more.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

from inorder.core.order import Order
from inorder.errors import InorderError
from inorder.stores.sqlite import SqliteStore
from tests.stores.making import changes, row


def work(store: SqliteStore, begun: threading.Event) -> None:
    with suppress(InorderError), store.transaction() as tx:
        for number in count():
            tx.write([row(f"k{number}", 0)], changes(waits={f"k{number}": None}), {})
            begun.set()


def main(folder: str, times: int) -> None:
    for number in range(times):
        path = str(Path(folder) / f"{number}.db")
        store = SqliteStore(path, "stream")
        store.register(Order.STRICT, 0)
        begun = threading.Event()
        working = threading.Thread(target=work, args=(store, begun))
        working.start()
        begun.wait()
        time.sleep(0.0003 * (number % 7))
        store.abandon()
        working.join()
        assert list(SqliteStore(path, "stream").states()) == []


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
