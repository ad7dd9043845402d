"""Tells what PostgreSQL's errors mean. Never hides one: what is not an outage stays the driver's own error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from inorder.errors import InorderError, Mismatch, Unreachable

CONNECT_S = 5
"""Longest wait for a connection."""
LOCK_S = 10
"""Longest wait for another transaction's lock. Past it, the store counts as unreachable."""

_OUTAGES = {
    "53100": "its disk is full",
    "53200": "it has no memory left",
    "53300": "it allows no more connections",
    "55P03": f"another transaction kept a lock for more than {LOCK_S} s",
    "25006": "it only reads: is it a standby?",
    "57P01": "it was shut down, or the connection ended by its operator",
    "57P02": "it was shut down",
    "57P03": "it is starting up or shutting down",
    # Not XX000, which extensions use for whatever they cannot read.
    "XX001": "it is damaged",
    "XX002": "an index of it is damaged",
    "25P03": "it ended the connection, which was idle for too long inside a transaction",
    "25P04": "it ended the connection, whose transaction took too long",
    "57P05": "it ended the connection, which was idle for too long",
}
"""By SQLSTATE."""
_OUTAGE_CLASSES = {"08": "the connection was lost", "58": "its disk failed"}
"""By the first two characters of the SQLSTATE."""
_CLASHES = {"40001", "40P01"}
"""Serialization failure and deadlock: the transaction is gone, and worth another try at once."""


class Clash(Mismatch):
    """Two transactions got in each other's way, and PostgreSQL gave this one up. Nothing was written."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(())
        self.args = (f"given up in favour of another transaction: {first_line(error)}",)


def first_line(error: BaseException) -> str:
    """PostgreSQL's messages run over several lines."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def outage(error: BaseException, name: str) -> InorderError | None:
    """What to raise instead if the store itself is in trouble, whoever ran the statement."""
    if not isinstance(error, psycopg.Error) or isinstance(error, psycopg.errors.PipelineAborted):
        # An aborted pipeline is an OperationalError too, and says only that an earlier statement of it failed.
        return None
    state = error.sqlstate
    if state in _CLASHES:
        return Clash(error)
    meaning = None
    if state is not None:
        meaning = _OUTAGES.get(state) or _OUTAGE_CLASSES.get(state[:2])
    elif isinstance(error, psycopg.OperationalError):
        meaning = "the connection was lost"
    return None if meaning is None else Unreachable(f"store {name}: {meaning} ({first_line(error)})")


@contextmanager
def ours(name: str) -> Iterator[None]:
    """Around inorder's own statements: those are known to be right, so any failure is the store's."""
    try:
        yield
    except psycopg.errors.InFailedSqlTransaction:
        # A handler went on after a statement of its own had failed. That is the handler's failure.
        raise
    except psycopg.Error as error:
        meaning = outage(error, name)
        if meaning is None:
            text = f"store {name}: its tables are not as inorder made them ({first_line(error)})"
            meaning = Unreachable(text)
        raise meaning from error


@contextmanager
def theirs(name: str) -> Iterator[None]:
    """Around the user's statements: an outage is told apart, anything else passes through."""
    try:
        yield
    except psycopg.Error as error:
        meaning = outage(error, name)
        if meaning is None:
            raise
        raise meaning from error
