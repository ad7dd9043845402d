"""A queue whose every move a test decides: its clock, its faults, and what another consumer of it does."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from inorder.core.event import Partition, Slice
from inorder.sources.sqs import SqsSource
from inorder.sources.sqs_url import parse
from tests.services.fifo import FifoError, FifoServer, Message, Queue
from tests.sqs.places import until
from tests.worker.bench import Bench, Working
from tests.worker.consumers import Act, Entry, nothing

VISIBILITY_S = 30

_numbers = itertools.count()


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class SourceOfTest(SqsSource):
    """A source that extends only when a test says so, with `extend_now`."""

    def _extend_always(self) -> None:
        self._ended.wait()

    def die(self) -> None:
        """As if its process were dead."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        until("it asks for nothing", lambda: not self._asking)
        self._ended.set()


class Told:
    """A listener, for tests without a worker."""

    def assigned(self, partitions: Sequence[Partition]) -> None: ...
    def revoked(self, partitions: Sequence[Partition]) -> None: ...
    def lost(self, partitions: Sequence[Partition]) -> None: ...


class Scene:
    """One queue, and those who use it."""

    def __init__(self, server: FifoServer, clock: Clock, folder: Path) -> None:
        self.server = server
        self.clock = clock
        self.name = f"s{next(_numbers)}.fifo"
        self.queue: Queue = server.create_fifo(self.name, VISIBILITY_S)
        self.url = f"sqs://{self.name}?endpoint={server.endpoint}&region=us-east-1&wait_s=0&receivers=1"
        self.slices: list[Slice] = []
        self._folder = folder
        self._sources: list[SourceOfTest] = []
        self._benches: list[Bench] = []
        server.calls.clear()

    # the queue

    def send(self, group: str, *bodies: str | Entry, id: str | None = None) -> None:
        """Append to a group; `id` is the deduplication id."""
        with self.server.changed:
            for body in bodies:
                text = body if isinstance(body, str) else msgspec.json.encode(body).decode()
                name = id or f"d{next(_numbers)}"
                entry = {"MessageBody": text, "MessageGroupId": group, "MessageDeduplicationId": name}
                self.queue.send(entry)
            self.server.changed.notify_all()

    def others_turn(self, most: int = 10) -> list[Message]:
        """Another consumer receives."""
        with self.server.changed:
            return self.queue.receive(most, VISIBILITY_S, None)

    def gives(self) -> list[str]:
        """What another consumer would be given now."""
        found = [message.body for message in self.others_turn()]
        with self.server.changed:
            for message in self.queue.messages:
                if message.body in found:
                    message.visible_at = self.clock.now
        return found

    def left(self) -> list[str]:
        """What is in the queue, given out or not."""
        with self.server.changed:
            return [message.body for message in self.queue.messages]

    def message(self, body: str) -> Message:
        with self.server.changed:
            return next(message for message in self.queue.messages if message.body == body)

    def pass_time(self, seconds: float) -> None:
        with self.server.changed:
            self.clock.now += seconds

    def requests(self, action: str) -> list[dict[str, Any]]:
        """Those that were made."""
        with self.server.changed:
            return [request for name, request in self.server.calls if name == action]

    def fail(self, action: str, error: Exception, times: int = 1, entry: int = 0, obeyed: bool = False) -> None:
        """Let a request, or an entry of a batch, fail so often, from the one that is number `entry` on."""
        seen = itertools.count()

        def refuse(name: str, request: Any) -> Exception | None:
            if name == action and entry <= next(seen) < entry + times:
                if obeyed:
                    return error
                raise error
            return None

        self.server.refuse = refuse

    # those who use it

    def source(self, **options: Any) -> SourceOfTest:
        """One worker's source, by itself."""
        found = SourceOfTest(parse(self.url)._replace(**options), self.clock)
        self._sources.append(found)
        found.subscribe(Told())
        found.poll(0, 0)
        return found

    def take(self, source: SourceOfTest, count: int) -> list[Slice]:
        """Wait for so many messages, and ask for no more."""
        found: list[Slice] = []

        def came() -> bool:
            found.extend(source.poll(100, 0.01))
            return len(found) >= count

        until(f"{count} messages came", came)
        source.pause([Partition(self.name, 0)])
        until("it asks for nothing", lambda: not source._asking)
        found += source.poll(100, 0)
        return found

    def settle(self, source: SourceOfTest, pieces: Sequence[Slice]) -> None:
        source.settle([piece.next_offset for piece in pieces])
        until("it is deleted, or cannot be", lambda: not source._deletions.pending)

    def bench(self, kind: str) -> Bench:
        """A store, and consumers of this kind."""
        folder = self._folder / f"{kind}{next(_numbers)}"
        folder.mkdir()
        self._benches.append(Bench(folder, kind))
        return self._benches[-1]

    def start(
        self, bench: Bench, act: Act = nothing, worker: str = "1", **options: Any
    ) -> tuple[Working, SourceOfTest]:
        """Start a worker on this queue."""
        source = SourceOfTest(parse(self.url), self.clock)
        return bench.start(bench.declare(act, **options), source, worker=worker), source

    def close(self) -> None:
        self.server.refuse = lambda action, request: None
        for bench in self._benches:
            bench.close()
        for source in self._sources:
            source.close()


def bodies(pieces: Sequence[Slice]) -> list[str]:
    """What slices carry."""
    return [(value or b"").decode() for piece in pieces for value in piece.values]


def holds(piece: Slice) -> bool:
    assert piece.lease is not None
    return piece.lease.holds()


def e(key: str, version: int) -> Entry:
    """An event."""
    return Entry(key, version, f"{key}-{version}", amount=version)


ITS_FAULT = FifoError("InternalError", "try again")
OUR_FAULT = FifoError("InvalidParameterValue", "no")
ANSWER_LOST = ConnectionError()

Situation = Callable[[Scene], None]
