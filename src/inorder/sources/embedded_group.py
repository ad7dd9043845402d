"""One member of a consumer group of the embedded broker.

There is no coordinator: each member, when it polls, evicts those whose session is over and spreads the
partitions, in one transaction. A partition changes hands in two steps: its owner lets go, then its target
takes it. A member never takes what another one still owns.

Sessions end by the wall clock, which all processes of a machine share: a jump of it costs a rebalance, not a record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from inorder.sources.embedded_assignment import assign
from inorder.sources.embedded_file import EmbeddedFile

SYNCS_PER_SESSION = 5


class Claim(NamedTuple):
    """A partition that has become ours, and the offset to read it from."""

    log: int
    number: int
    committed: int


class Standing(NamedTuple):
    """What a member learned from one look at its group."""

    lost: bool
    """The others gave us up: nothing is ours any more."""
    release: list[int]
    """Logs to let go of."""
    claims: list[Claim]
    """Partitions that are ours from now on."""


class Member:
    """A session in group `name` of a topic. It begins with `join` and lives on `sync` and `commit`."""

    def __init__(
        self,
        file: EmbeddedFile,
        topic: int,
        name: str,
        session_timeout_s: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._file = file
        self._topic = topic
        self._session_timeout_s = session_timeout_s
        self._now = now
        with file.write():
            file.execute("add_group", topic, name)
        self.group: int = file.value("find_group", topic, name)
        self._id = 0
        self._generation = -1
        self._next_sync_at = 0.0

    def join(self) -> None:
        """Begin a session."""
        with self._file.write():
            cursor = self._file.execute("join", self.group, self._now() + self._session_timeout_s)
            self._file.execute("bump", self.group)
        self._id = cursor.lastrowid or 0
        self._generation = -1

    def sync_in_s(self) -> float:
        """How long until the next `sync` is due."""
        return self._next_sync_at - time.monotonic()

    def changed(self) -> bool:
        """Whether anything about the group has changed since the last `sync`. One cheap read."""
        generation: int = self._file.value("generation", self.group)
        return generation != self._generation

    def sync(self, known: Collection[int]) -> Standing:
        """Give a heartbeat, spread the partitions, and claim those of ours that are free.

        `known` are the logs that the caller holds. What is ours and not known, as after an error in between,
        is claimed again.
        """
        self._next_sync_at = time.monotonic() + self._session_timeout_s / SYNCS_PER_SESSION
        with self._file.write():
            if not self._heartbeat():
                return Standing(True, [], [])
            gone = self._file.execute("evict", self.group, self._now()).rowcount
            if gone:
                self._file.execute("orphan", self.group)
            self._file.execute("adopt", self.group, self._topic)
            shares = self._file.rows("shares", self.group)
            members = [member for (member,) in self._file.rows("members", self.group)]
            current = {log: target for log, _, _, target, _ in shares}
            targets = assign(list(current), members, current)
            moved = [(targets[log], self.group, log) for log in current if targets[log] != current[log]]
            self._file.execute_many("aim", moved)
            if gone or moved:
                self._file.execute("bump", self.group)
            release = []
            claims = []
            for log, number, owner, _, committed in shares:
                if owner == self._id and targets[log] != self._id:
                    release.append(log)
                elif owner in (None, self._id) and targets[log] == self._id and log not in known:
                    claims.append(Claim(log, number, committed))
            self._file.execute_many("claim", [(self._id, self.group, claim.log) for claim in claims])
            self._generation = self._file.value("generation", self.group)
        return Standing(False, release, claims)

    def release(self, logs: Iterable[int]) -> None:
        """Let go of these: whoever is to have them may take them from now on."""
        with self._file.write():
            self._file.execute_many("release", [(self.group, log, self._id) for log in logs])
            self._file.execute("bump", self.group)

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Everything below these offsets is settled. Does nothing for logs that are not ours any more."""
        rows = [(offset, self.group, log, self._id) for log, offset in offsets.items()]
        with self._file.write():
            self._heartbeat()
            self._file.execute_many("commit", rows)

    def alive(self) -> bool:
        """Give a heartbeat; False if the session is over."""
        with self._file.write():
            return self._heartbeat()

    def leave(self) -> None:
        """End the session and let go of everything."""
        with self._file.write():
            self._file.execute("release_all", self.group, self._id)
            self._file.execute("leave", self._id)
            self._file.execute("bump", self.group)

    def _heartbeat(self) -> bool:
        expires_at = self._now() + self._session_timeout_s
        return self._file.execute("heartbeat", expires_at, self._id).rowcount == 1
