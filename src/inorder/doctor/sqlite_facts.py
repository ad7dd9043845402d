"""Looks into a SQLite store, through a connection that only reads."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from inorder.doctor.facts import Store
from inorder.errors import Unreachable, UsageError
from inorder.stores.sqlite import opening
from inorder.stores.sqlite.weather import ours
from inorder.stores.statements import statements

MOUNTS = Path("/proc/self/mounts")
SYNCHRONOUS = {0: "off", 1: "normal", 2: "full", 3: "extra"}

_SQL = statements("inorder.doctor", "sqlite.sql")


class SqliteFacts:
    """What `inorder doctor --store sqlite:///…` learns from the file."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.name = unquote(parts.path[1:])
        if parts.netloc or not self.name or parts.query:
            raise UsageError(f"{url!r} names no file: write sqlite:///relative.db or sqlite:////absolute.db")

    def gather(self, topic: str) -> Store:
        """Raises `Unreachable` when there is no such file, or it cannot be read."""
        if not Path(self.name).exists():
            raise Unreachable(f"store {self.name}: there is no such file")
        with ours(self.name), closing(sqlite3.connect(f"file:{quote(self.name)}?mode=ro", uri=True)) as link:
            durability = {
                "journal_mode": link.execute(_SQL["journal_mode"]).fetchone()[0],
                "synchronous": worker_synchronous(),
                "file system": file_system(Path(self.name).resolve()),
            }
            made = link.execute(_SQL["made"]).fetchone()[0]
            oldest = link.execute(_SQL["oldest"]).fetchone()[0] if made else None
            return Store(
                name=self.name,
                durability=durability,
                orders=dict(link.execute(_SQL["orders"]).fetchall()) if made else {},
                partitions_seen=link.execute(_SQL["partitions_seen"], (topic,)).fetchone()[0] if made else 0,
                oldest_letter_s=None if oldest is None else time.time() - oldest,
                clock_ahead_s=0.0,
            )


def worker_synchronous() -> str:
    """What a worker's connection has: SQLite does not keep it in the file. Tried on a file of its own."""
    with tempfile.TemporaryDirectory() as folder, closing(opening.open_file(f"{folder}/store.db")) as link:
        return SYNCHRONOUS[link.execute(_SQL["synchronous"]).fetchone()[0]]


def file_system(path: Path, mounts: Iterable[str] | None = None) -> str:
    """The kind of file system that a file is on; "" where the machine does not say."""
    if mounts is None:
        mounts = MOUNTS.read_text().splitlines() if MOUNTS.exists() else []
    found = (Path("/"), "")
    for line in mounts:
        _, place, kind, *_ = line.split(" ")
        at = Path(place.replace("\\040", " "))
        if path.is_relative_to(at) and len(at.parts) >= len(found[0].parts):
            found = (at, kind)
    return found[1]
