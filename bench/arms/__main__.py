"""Runs one arm: `python -m bench.arms NAME TASK`, the task as JSON. Prints its report as one line of JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import msgspec

from bench.arms import alone, bare, library, lone, naive, queue
from bench.arms.task import Report, Task

ARMS: dict[str, Callable[[Task], Report]] = {
    "consume": bare.consume_only,
    "decode": bare.consume_and_decode,
    "bare-postgres": bare.into_postgres,
    "bare-sqlite": bare.into_sqlite,
    "naive-postgres": naive.with_postgres,
    "naive-sqlite": naive.with_sqlite,
    "naive-two-postgres": partial(naive.with_postgres, post=True),
    "naive-two-sqlite": partial(naive.with_sqlite, post=True),
    "unguarded-postgres": partial(naive.with_postgres, polled=True),
    "unguarded-sqlite": partial(naive.with_sqlite, polled=True),
    "inorder": library.run,
    "alone": alone.run,
    "queue-bare": queue.bare,
    "queue-inorder": queue.library,
    "lone-inorder": lone.with_library,
    "lone-naive-postgres": lone.naive_postgres,
    "lone-naive-sqlite": lone.naive_sqlite,
}


if __name__ == "__main__":
    name, given = sys.argv[1:]
    report = ARMS[name](msgspec.json.decode(given, type=Task))
    print(msgspec.json.encode(report).decode(), flush=True)
