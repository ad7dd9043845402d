"""Every error that inorder raises on purpose.

    InorderError
    ├── UsageError          a declaration, URL or option is wrong; the message says what to write instead
    ├── NotFound            a store, stream, key or letter that was asked for is not there
    ├── Unreachable         a broker or store does not answer; the message says which, and what was tried
    ├── Undelivered         records that a producer took and the broker did not acknowledge; they are in `records`
    ├── Fenced              the worker lost a partition and was refused
    ├── Mismatch            an entity was changed by somebody else since it was read
    ├── HandlerTimeout      a handler ran past its limit
    └── HandlerExit         a handler raised what would end a process, or a task: `sys.exit()`, for example

Raised by handlers, to say what a failure means (any other exception counts as transient):

    Poison                  the event will never pass: dead letter at once
    Unavailable             something the handler needs is down: pause everything, give up on nothing
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from inorder.core.event import Partition


class InorderError(Exception):
    """The base of inorder's own errors."""


class UsageError(InorderError):
    """A declaration, URL or option is wrong. The message says what to write instead."""


class NotFound(InorderError):
    """A store, stream, key or letter that was asked for is not there."""


class Unreachable(InorderError):
    """A broker or store does not answer. The message says which, and what was tried."""


class Undelivered(InorderError):
    """The broker did not acknowledge these records of a producer. Each may be kept by it nevertheless."""

    def __init__(self, message: str, records: Iterable[Any] = ()) -> None:
        self.records = list(records)
        super().__init__(message)


class Fenced(InorderError):
    """This worker lost a partition: a newer owner has raised its fence. Nothing was written."""

    def __init__(self, partitions: Iterable[Partition]) -> None:
        self.partitions = list(partitions)
        super().__init__(f"lost to a newer owner: {', '.join(map(str, self.partitions))}")


class Mismatch(InorderError):
    """Entities were changed by somebody else since they were read. Nothing was written."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys = list(keys)
        super().__init__(f"changed by somebody else: {', '.join(self.keys[:5])}")


class HandlerTimeout(InorderError):
    """A handler ran past its limit."""


class HandlerExit(InorderError):
    """A handler raised what would end a process, or a task. It ends neither: its event has failed."""


class Poison(Exception):
    """Raise it in a handler for an event that will never pass: it becomes a dead letter at once."""


class Unavailable(Exception):
    """Raise it in a handler when something it needs is down: everything pauses, and no event is given up on."""
