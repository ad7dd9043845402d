"""Runs other engines on the same topics, where they are at hand. None of them is part of this project.

INORDER_BENCH_PEERS names a directory with `java/bench.sh ARM CELL...`, a program that reads each CELL, written
TOPIC:N:HANDLER:CONCURRENCY (with ~ before it for a warm-up that is not reported), from the beginning with a group of
its own, and prints a line of JSON for it with at least `seconds`, from the first record to the last completed handler.
HANDLER is noop, sleepMS or pg: one guarded upsert an event into `account`, compared at the end with `expected`, which
the line tells as `state_ok`. BUILD names what it was built into, and which ARMs there are: lib-a, classes-b, classes-c.
JAVA_OPTS tells it where Kafka and PostgreSQL are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import psycopg

from bench.process import BenchError
from bench.topics import Topic

LONGEST_S = 900
ARMS = {
    "A": ("parallel-consumer", "lib-a"),
    "B": ("parallel-consumer, fork", "classes-b"),
    "C": ("Decaton", "classes-c"),
}
TABLES = """
create table account (entity text primary key, version int not null, balance bigint not null,
                      span int not null default 1);
create table expected (topic text, entity text, n int, total bigint, primary key (topic, entity))"""


def at_hand() -> dict[str, str]:
    """The names of the engines that can be run here, by arm."""
    place, build = os.environ.get("INORDER_BENCH_PEERS"), os.environ.get("BUILD")
    if not place or not build or not (Path(place) / "java/bench.sh").exists() or shutil.which("java") is None:
        return {}
    return {arm: name for arm, (name, needs) in ARMS.items() if (Path(build) / needs).exists()}


def prepare(url: str, topics: list[Topic]) -> None:
    """Write the tables that they use into a fresh database, with what the accounts must end up as."""
    with psycopg.connect(url, autocommit=True) as database:
        database.execute(TABLES.encode())
        with database.cursor().copy("copy expected from stdin") as rows:
            for topic in topics:
                for number, version in enumerate(topic.truth.versions):
                    if version:
                        total = topic.truth.totals[number]
                        rows.write_row((topic.name, f"account-{number:07d}", version, total))


def run(arm: str, cells: list[str], bootstrap: str, database: str) -> list[dict[str, Any]]:
    """The lines of one arm, one for each cell, after a warm-up on the first of them."""
    program = Path(os.environ["INORDER_BENCH_PEERS"]) / "java/bench.sh"
    where = urlsplit(database)
    jdbc = f"jdbc:postgresql://{where.hostname}:{where.port}{where.path}?user={where.username}"
    options = f"{os.environ.get('JAVA_OPTS', '')} -Dkafka={bootstrap} -Dpg={jdbc}".strip()
    topic, events, *_ = cells[0].split(":")
    done = subprocess.run(
        [str(program), arm, f"~{topic}:{events}:noop:16", *cells],
        env={**os.environ, "JAVA_OPTS": options},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    lines = [msgspec.json.decode(line, type=dict[str, Any]) for line in done.stdout.splitlines()]
    if done.returncode or len(lines) != len(cells):
        raise BenchError(f"{program} {arm} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return lines
