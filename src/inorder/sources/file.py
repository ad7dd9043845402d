"""A JSON Lines file, or standard input, as a source of one partition.

A record's value is the line as it is, without its end (LF or CRLF); its offset is the line's number, from 1.
Blank lines are counted and not given out. Nobody keeps the committed position: a rerun rereads everything,
and the guard makes that harmless. It never knows of other readers: each one is given the whole file.
"""

from __future__ import annotations

import errno
import os
import queue
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path

from inorder.core.event import Partition, Record, Slice
from inorder.errors import Unreachable, UsageError
from inorder.ports import Listener

STDIN = "-"
_CHUNK_BYTES = 1 << 18
_CHUNKS_AHEAD = 16
_CHUNKS_PER_POLL = 64


class FileSource:
    """The lines of the file `path`, or of standard input when it is `-`."""

    def __init__(self, path: str | Path) -> None:
        name = str(path)
        self._partition = Partition("stdin" if name == STDIN else Path(name).name, 0)
        self._lines = _Lines(_open(name), name)
        self._listener: Listener | None = None
        self._assigned = False
        self._paused = False
        self._ready: deque[Record] = deque()
        self._given = 0
        self._committed = 0

    def subscribe(self, listener: Listener) -> None:
        """Begin to read. The one partition is assigned during the first poll."""
        self._listener = listener
        self._lines.start()

    def poll(self, most: int, timeout_s: float) -> list[Slice]:
        """Up to `most` lines, waiting at most `timeout_s` for the first, even on standard input."""
        if not self._assigned and self._listener is not None:
            self._assigned = True
            self._listener.assigned([self._partition])
        if self._paused:
            self._lines.stopped.wait(timeout_s)
            return []
        for _ in range(_CHUNKS_PER_POLL):
            chunk = self._lines.take(0.0 if self._ready else timeout_s) if len(self._ready) < most else []
            if not chunk:
                break
            self._ready += [Record(self._partition, number, None, line) for number, line in chunk]
        records = [self._ready.popleft() for _ in range(min(most, len(self._ready)))]
        if not records:
            return []
        self._given = records[-1].offset + 1
        return [Slice.of(self._partition, records)]

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Remembered by this object only, for `at_end`."""
        self._committed = max(self._committed, offsets.get(self._partition, 0))

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Give out nothing until resumed."""
        self._paused = self._paused or self._partition in partitions

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Give out lines again."""
        self._paused = self._paused and self._partition not in partitions

    def at_end(self) -> bool:
        """Whether the input has ended and every line was given out and committed."""
        return self._lines.exhausted() and not self._ready and self._committed >= self._given

    def close(self) -> None:
        """Stop reading. The partition is revoked first."""
        if self._assigned and self._listener is not None:
            self._listener.revoked([self._partition])
        self._listener = None
        self._lines.stop()


def _open(name: str) -> int:
    """A file descriptor to read from."""
    try:
        if name == STDIN:
            return os.dup(0)
        if os.path.isdir(name):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return os.open(name, os.O_RDONLY)
    except OSError as error:
        raise UsageError(
            f"cannot read {name}: {error.strerror}: name a JSON Lines file, or - for standard input"
        ) from error


class _Lines(threading.Thread):
    """Reads ahead in a thread, since standard input may block for ever. Never more than a few chunks."""

    def __init__(self, descriptor: int, name: str) -> None:
        super().__init__(name=f"read {name}", daemon=True)
        self.stopped = threading.Event()
        self._descriptor = descriptor
        self._chunks: queue.Queue[list[tuple[int, bytes]] | OSError | None] = queue.Queue(_CHUNKS_AHEAD)
        self._number = 0
        self._over = False

    def take(self, timeout_s: float) -> list[tuple[int, bytes]]:
        """The next numbered lines; nothing if there are none within `timeout_s` or the input has ended."""
        if self._over:
            self.stopped.wait(timeout_s)
            return []
        try:
            chunk = self._chunks.get(timeout=timeout_s) if timeout_s > 0 else self._chunks.get_nowait()
        except queue.Empty:
            return []
        if isinstance(chunk, OSError):
            raise Unreachable(f"cannot read on: {chunk}") from chunk
        self._over = chunk is None
        return chunk or []

    def exhausted(self) -> bool:
        """Whether everything was taken."""
        if not self._over and self._chunks.queue and self._chunks.queue[0] is None:
            self._over = True
        return self._over

    def stop(self) -> None:
        """Read no more. A read that blocks is left behind: the thread ends with the process."""
        if self.ident is None and not self.stopped.is_set():
            os.close(self._descriptor)  # never started
        self.stopped.set()

    def run(self) -> None:
        try:
            self._read()
            self._put(None)
        except OSError as error:
            self._put(error)
        finally:
            os.close(self._descriptor)

    def _read(self) -> None:
        begun: list[bytes] = []  # of a line whose end was not read yet
        while not self.stopped.is_set() and (data := os.read(self._descriptor, _CHUNK_BYTES)):
            first, *rest = data.split(b"\n")
            begun.append(first)
            if rest:
                self._put(self._numbered([b"".join(begun), *rest[:-1]]))
                begun = [rest[-1]]
        if last := b"".join(begun):
            self._put(self._numbered([last]))

    def _numbered(self, lines: list[bytes]) -> list[tuple[int, bytes]]:
        start = self._number + 1
        self._number += len(lines)
        return [(number, line.removesuffix(b"\r")) for number, line in enumerate(lines, start) if line.strip()]

    def _put(self, chunk: list[tuple[int, bytes]] | OSError | None) -> None:
        while chunk != [] and not self.stopped.is_set():
            try:
                return self._chunks.put(chunk, timeout=0.1)
            except queue.Full:
                continue
