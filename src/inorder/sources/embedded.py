"""The embedded broker as a source: topics with partitions and consumer groups, in one SQLite file.

For the demo, tests and deployments on one machine: several processes share the file, and none is a server.
It never deletes a record, and never reads one of a partition that it was not assigned.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from inorder.core.event import Partition, Record, Slice
from inorder.ports import Listener
from inorder.sources.embedded_broker import OFFSET_BITS, EmbeddedBroker, Message, decode_headers, find_topic
from inorder.sources.embedded_file import EmbeddedFile
from inorder.sources.embedded_group import Claim, Member
from inorder.sources.embedded_url import parse, seconds

__all__ = ["EmbeddedBroker", "EmbeddedSource", "Message"]

SESSION_TIMEOUT_S = 10.0
POLL_BYTES = 16 * 1_048_576
"""About how much one poll may give out. One record of each partition is given out, however large."""
_FIRST_WAIT_S = 0.000_5
_LONGEST_WAIT_S = 0.005


class EmbeddedSource:
    """One member of consumer group `group` on `topic` of the broker file `path`.

    A member that has neither polled nor committed for `session_timeout_s` is given up by the others.
    `EmbeddedSource.from_url` takes the same from a URL.
    """

    def __init__(self, path: str | Path, topic: str, group: str, session_timeout_s: float = SESSION_TIMEOUT_S) -> None:
        self._file = EmbeddedFile(path)
        try:
            self._topic = find_topic(self._file, topic)
            self._member = Member(self._file, self._topic, group, session_timeout_s)
        except BaseException:
            self._file.close()
            raise
        self._name = topic
        self._listener: Listener | None = None
        self._logs: dict[int, _Log] = {}
        self._paused: set[Partition] = set()
        self._seen = -1
        self._rejoins = False
        self._turn = 0

    @classmethod
    def from_url(cls, url: str, group: str) -> EmbeddedSource:
        """`embedded://path.db/TOPIC?group=…&session_timeout_s=…`; `group` is the default for `group=`."""
        path, topic, options = parse(url, known=("group", "session_timeout_s"))
        timeout_s = seconds(options, "session_timeout_s", SESSION_TIMEOUT_S)
        return cls(path, topic, options.get("group") or group, timeout_s)

    def subscribe(self, listener: Listener) -> None:
        """Join the group. Assignments arrive during later polls."""
        self._listener = listener
        self._member.join()

    def poll(self, most: int, timeout_s: float) -> list[Slice]:
        """Up to `most` records, waiting at most `timeout_s` for the first.

        Also keeps the membership alive, so call it while everything is paused, too. Calls the listener.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            self._keep_up()
            slices = self._read(most)
            if slices or not self._wait(deadline):
                return slices

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Everything below each offset is settled. Nothing happens for partitions that were lost.

        Also keeps the membership alive, so that a slow drain does not end it.
        """
        ours = {log.partition: log.id for log in self._logs.values()}
        self._member.commit({ours[p]: offset for p, offset in offsets.items() if p in ours})

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Give out nothing of these until resumed."""
        self._paused.update(partitions)

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Give out records of these again."""
        self._paused.difference_update(partitions)

    def at_end(self) -> bool:
        """Whether the whole group has committed everything up to the end of every partition."""
        return not self._file.value("behind", self._member.group, self._topic)

    def rejoin(self) -> None:
        """Leave the group and join it again, at the next poll."""
        self._rejoins = True

    def close(self) -> None:
        """Leave the group. Partitions are revoked first."""
        listener, self._listener = self._listener, None
        try:
            if listener is not None:
                self._leave(listener)
        finally:
            self._file.close()

    def _leave(self, listener: Listener) -> None:
        partitions = [log.partition for log in self._logs.values()]
        if partitions and self._member.alive():
            listener.revoked(partitions)
        elif partitions:
            listener.lost(partitions)
        self._drop(list(self._logs))
        self._member.leave()

    def _keep_up(self) -> None:
        """Heartbeat when it is due, and follow what changed in the group."""
        listener = self._listener
        if listener is None:
            raise RuntimeError("subscribe first")
        if self._rejoins:
            self._leave(listener)
            self._member.join()
            self._rejoins, self._seen = False, -1
        version = self._file.data_version()
        if self._member.sync_in_s() > 0 and (version == self._seen or not self._member.changed()):
            self._seen = version
            return
        self._seen = version
        standing = self._member.sync(self._logs.keys())
        if standing.lost:
            if lost := self._drop(list(self._logs)):
                listener.lost(lost)
            self._member.join()
            standing = self._member.sync(())
        if standing.release:
            held = [log for log in standing.release if log in self._logs]
            if held:
                listener.revoked([self._logs[log].partition for log in held])
                self._drop(held)
            self._member.release(standing.release)
        if standing.claims:
            logs = [_Log(self._name, claim) for claim in standing.claims]
            listener.assigned([log.partition for log in logs])
            self._logs.update((log.id, log) for log in logs)

    def _drop(self, logs: list[int]) -> list[Partition]:
        partitions = [self._logs.pop(log).partition for log in logs]
        self._paused.difference_update(partitions)
        return partitions

    def _read(self, most: int) -> list[Slice]:
        """An even share of `most` from each partition; what one has too little for goes to the next ones."""
        logs = [log for log in self._logs.values() if log.partition not in self._paused]
        self._turn += 1
        turn = self._turn % len(logs) if logs else 0
        slices = []
        for place, log in enumerate(logs[turn:] + logs[:turn]):
            share = -(-most // (len(logs) - place))
            size = POLL_BYTES // len(logs)
            rows = self._file.rows_within(size, "read", log.base + log.position, log.next_base, share)
            if rows:
                log.position += len(rows)
                most -= len(rows)
                slices.append(log.slice(rows))
        return slices

    def _wait(self, deadline: float) -> bool:
        """Sleep until the file changes or the group is to be looked at; False if `deadline` came first."""
        wait_s = _FIRST_WAIT_S
        while (left_s := deadline - time.monotonic()) > 0:
            if self._file.data_version() != self._seen or self._member.sync_in_s() <= 0:
                return True
            time.sleep(min(wait_s, left_s))
            wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
        return False


class _Log:
    """A partition that is ours, and the offset that is read next."""

    __slots__ = ("base", "id", "next_base", "partition", "position")

    def __init__(self, topic: str, claim: Claim) -> None:
        self.id = claim.log
        self.base = claim.log << OFFSET_BITS
        self.next_base = claim.log + 1 << OFFSET_BITS
        self.partition = Partition(topic, claim.number)
        self.position = claim.committed

    def slice(self, rows: list[tuple[Any, ...]]) -> Slice:
        values = [row[2] for row in rows]
        return Slice(self.partition, rows, values, rows[-1][0] - self.base + 1, self._record, self._offset)

    def _record(self, row: tuple[Any, ...]) -> Record:
        position, key, value, headers, timestamp_ms = row
        unpacked = decode_headers(headers) if headers else ()
        return Record(self.partition, position - self.base, key, value, unpacked, timestamp_ms)

    def _offset(self, row: tuple[Any, ...]) -> int:
        offset: int = row[0] - self.base
        return offset
