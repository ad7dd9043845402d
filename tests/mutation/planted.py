"""Flaws as a reviewer would plant them, by hand: for each, the text that is replaced. It fails where that is gone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.mutation.rooms import SRC


@dataclass(frozen=True)
class ByHand:
    """One flaw: in a file of the package, texts that are there once, and what they are replaced by."""

    name: str
    room: str
    file: str
    changes: tuple[tuple[str, str], ...]
    seen_by: str = ""
    """Where no test without a broker can see it: the test that does."""

    @property
    def path(self) -> Path:
        """Where it is planted."""
        return SRC / "inorder" / self.file

    def planted(self) -> tuple[str, range]:
        """The whole text with the flaw, and the lines that it changes."""
        text = self.path.read_text()
        lines: list[int] = []
        for old, new in self.changes:
            if text.count(old) != 1:
                raise ValueError(f"{self.name}: {old!r} is {text.count(old)} times in {self.file}")
            first = self.path.read_text().count("\n", 0, self.path.read_text().index(old)) + 1
            lines += [first, first + old.rstrip("\n").count("\n")]
            text = text.replace(old, new)
        return text, range(min(lines), max(lines) + 1)


def _one(name: str, room: str, file: str, *changes: tuple[str, str], seen_by: str = "") -> ByHand:
    return ByHand(name, room, file, changes, seen_by)


PLANTED = (
    _one(
        "an effect is committed before its version",
        "worker",
        "worker/batch.py",
        (
            "                self._write(batch, tx)\n        else:",
            "            with self._store.transaction() as tx:\n                self._write(batch, tx)\n        else:",
        ),
    ),
    _one("SQLite: no fence is checked", "sqlite", "stores/sqlite/transaction.py", ("self._check(fences)\n", "pass\n")),
    _one(
        "PostgreSQL: no fence is checked",
        "postgres",
        "stores/postgres/transaction.py",
        ("owned = self._share(fences) if fences else None", "owned = None"),
    ),
    _one(
        "SQLite: a row is replaced whatever its revision",
        "sqlite",
        "stores/sqlite/statements.sql",
        ("\nWHERE e.revision = excluded.revision - 1;", ";"),
    ),
    _one(
        "PostgreSQL: a row is replaced whatever its revision",
        "postgres",
        "stores/postgres/statements.sql",
        ("  WHERE e.revision = excluded.revision - 1\n", ""),
    ),
    _one(
        "a new owner does not raise the fence",
        "sqlite",
        "stores/sqlite/statements.sql",
        ("DO UPDATE SET token = token + 1", "DO UPDATE SET token = token"),
    ),
    _one(
        "PostgreSQL: a new owner does not wait for the old one's transaction",
        "postgres",
        "stores/postgres/statements.sql",
        ("ORDER BY topic, partition FOR SHARE;", "ORDER BY topic, partition;"),
    ),
    _one(
        "SQLite: what was held is not deleted",
        "sqlite",
        "stores/sqlite/transaction.py",
        ("        RELEASED.run(self._connection, self._stream, sorted(changes.released))\n", ""),
    ),
    _one(
        "SQLite: what a failed event wrote is kept",
        "sqlite",
        "stores/sqlite/transaction.py",
        ('                    self.execute(f"ROLLBACK TO {name}")\n', ""),
    ),
    _one(
        "batches settle before they commit",
        "worker",
        "worker/runner.py",
        (
            "        lost = self._persist(batches, turn)\n",
            "        self._settled += turn.job.units\n        lost = self._persist(batches, turn)\n",
        ),
        ("                self._settled += turn.job.units\n", ""),
    ),
    _one(
        "lanes settle before they commit",
        "worker",
        "worker/commits.py",
        (
            "        try:\n            await self._keeper.write(rows, changes, fences)\n",
            "        try:\n            self.through(waits, self._groups.settle(group))\n"
            "            await self._keeper.write(rows, changes, fences)\n",
        ),
    ),
    _one(
        "what is under way is committed too",
        "core",
        "core/frontier.py",
        ("opened[order[0]] if order", "order[0] if order"),
    ),
    _one(
        "offsets are committed one too far",
        "worker",
        "worker/worker.py",
        ("{commit.partition: commit.offset for", "{commit.partition: commit.offset + 1 for"),
    ),
    _one(
        "what is left of a partition that went is worked on",
        "worker",
        "worker/runner.py",
        ("            for job in self._queue:\n                job.without(partitions)\n", ""),
    ),
    _one(
        "lanes do not ask again whether an event is still theirs",
        "worker",
        "worker/deciding.py",
        ("if self._groups.fence(piece) != self._known.fences.get(piece.partition, -1):", "if False:"),
    ),
    _one(
        "a partition that is revoked is not drained",
        "worker",
        "worker/worker.py",
        ("if not self._runner.drop(set(partitions), self._limits.drain_s):", "if False:"),
    ),
    _one(
        "the time of a retry is not noted",
        "worker",
        "worker/batch.py",
        ("self.timers.note({key: early[key] for key in early if key not in told} | batch.changes.waits)", "pass"),
    ),
    _one(
        "lanes: the time of a retry is not noted",
        "worker",
        "worker/lane_work.py",
        ("        self._waking.note(waits)\n", ""),
    ),
    _one(
        "what turned out old stays in memory",
        "worker",
        "worker/batch.py",
        (
            "                self.observer.outdated()\n                self._forget(job, due)\n",
            "                self.observer.outdated()\n",
        ),
    ),
    _one(
        "what was rolled back stays in memory",
        "worker",
        "worker/batch.py",
        (
            "tried again.\n                self.cache.clear()\n",
            "tried again.\n",
        ),
    ),
    _one(
        "what was decided ahead is kept although what it rests on was refused",
        "worker",
        "worker/batch.py",
        (
            "        except BaseException:\n            self.discard()\n            raise\n",
            "        except BaseException:\n            raise\n",
        ),
    ),
    _one(
        "what was decided ahead of a partition that went is written",
        "worker",
        "worker/runner.py",
        (
            "                self._ahead.job.without(partitions)\n                self._stale = True\n",
            "                self._ahead.job.without(partitions)\n",
        ),
    ),
    _one(
        "what waits is read ahead as if what is being written did not change it",
        "worker",
        "worker/batch.py",
        ("held = before.held_after(held, awake)", "pass"),
    ),
    _one(
        "a lease that is over is ignored",
        "worker",
        "worker/deciding.py",
        ("if piece.lease is None or piece.lease.holds():", "if True:"),
        seen_by="tests/sqs/test_situations.py::test_situation"
        "[an_event_whose_lease_ended_in_the_queue_of_its_lane_is_left_to_the_next]",
    ),
    _one(
        "a key counts as drained from when it is rung for",
        "worker",
        "worker/waking.py",
        ("        self._rung.update(keys)\n", "        self._draining.update(dict.fromkeys(keys, 0))\n"),
    ),
    _one(
        "a retry that comes due while its key drains is forgotten",
        "worker",
        "worker/waking.py",
        ("        self._look_again((key for key in due if key in self._draining), now)\n", ""),
    ),
    _one(
        "a handler of an epoch that is over keeps its key from being let go of",
        "worker",
        "worker/calls.py",
        ("if run.entity.key == key and run.epoch == epoch]", "if run.entity.key == key]"),
    ),
    _one(
        "the store is asked whether all is ours beside a commit",
        "worker",
        "worker/commits.py",
        (
            "        # Not beside a commit: were it refused, what is being written would be taken for what is known.\n"
            "        async with self.turns:\n",
            "        if True:\n",
        ),
    ),
    _one(
        "commits under the fence of a key that was woken, whatever came of it",
        "worker",
        "worker/waking.py",
        ("if key in self._homes and key in changes.entities:", "if key in self._homes:"),
    ),
    _one(
        "connections share keys out as librdkafka does partitions",
        "worker",
        "worker/job.py",
        ("crc32(key.encode()) * count >> 32", "crc32(key.encode()) % count"),
    ),
    _one(
        "a unit is settled when the first of several connections is through",
        "worker",
        "worker/sharded.py",
        ("        return left == 0\n", "        return True\n"),
    ),
    _one(
        "a claim that is over is ignored",
        "worker",
        "worker/claims.py",
        ("claimed is not None and self._clock.now() + self._needed_s < claimed.due_at", "claimed is not None"),
    ),
    _one(
        "a duplicate is counted twice",
        "core",
        "core/changes.py",
        (
            "            self.delivered(outcome)\n            return\n",
            "            self.delivered(outcome, 2 if outcome is Outcome.DUPLICATE else 1)\n            return\n",
        ),
    ),
    _one(
        "a key goes on past an event that was given up on",
        "core",
        "core/planner.py",
        ("            self._wait(entity, parked, changes)\n        elif", "            pass\n        elif"),
    ),
    _one(
        "a late event is taken for a conflict",
        "core",
        "core/guard.py",
        ("        if known == _SKIPPED:\n            return LATE\n", ""),
    ),
    _one(
        "`>=` for `>`: strict order lets gaps through",
        "core",
        "core/guard.py",
        (
            "            if version == entity.version + 1:\n                return APPLY\n",
            "            if version >= entity.version + 1:\n                return APPLY\n",
        ),
    ),
)
