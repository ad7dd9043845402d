"""What happened, step by step, as a trace: the one thing that checkers look at.

A trace is written down by whoever drives inorder: the explorer, the simulation, or a real run. Its first line says
under which rules it came about and which operations were recorded at all; a checker that needs others says "unknown".
Steps of one transaction carry its number and stand together, in the place of its commit: what was rolled back is not
in a trace. Nothing here judges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from hashlib import blake2b
from typing import IO

import msgspec

from inorder.core.guard import REMEMBERED_IDS
from inorder.core.limits import Limits
from inorder.core.order import Order, Outcome

_ENCODER = msgspec.json.Encoder(order="deterministic")


class Op(StrEnum):
    """What a step is. The fields that matter stand behind it."""

    # Each step is looked up by it several times, and an enum's own hash is a call of Python's.
    __hash__ = str.__hash__

    ACCEPTED = "accepted"
    """The broker keeps a record for good: partition, offset; key, version, id, unless nobody can read it."""
    ASSIGNED = "assigned"
    """A worker owns a partition from now on: worker, partition, epoch. Older epochs are over."""
    REVOKED = "revoked"
    """A worker knows that it owns it no more."""
    RECEIVED = "received"
    """A worker was given a record: partition, offset, epoch."""
    STARTED = "started"
    """A handler was called for an event: key, version, id, worker, epoch."""
    ENDED = "ended"
    """It returned or raised."""
    CALLED = "called"
    """An effect outside of the store took place: id is its idempotency key; key, version, epoch."""
    DECIDED = "decided"
    """An event came to an outcome that leaves no row of its own: outcome is duplicate, stale, conflict, late."""
    APPLIED = "applied"
    """The ledger row of an effect was committed with it: key, version, id, via, epoch, tx."""
    STATE = "state"
    """The stored state of a key was written: key, state, tx."""
    HELD = "held"
    """An event got a durable place: key, version, id; outcome is held or parked."""
    RELEASED = "released"
    """It gave its place up."""
    LETTER = "letter"
    """A dead letter was written: partition, offset, reason; key, version, id."""
    RESOLVED = "resolved"
    """A letter was dealt with: partition, offset."""
    SKIPPED = "skipped"
    """An operator declared that a version will never come: key, version."""
    COMMITTED = "committed"
    """The broker was told that everything of a partition below offset is settled: epoch."""
    DELETED = "deleted"
    """The broker was told that one record is settled, as a queue is told: partition, offset, epoch."""
    CRASHED = "crashed"
    """A worker lost its memory: worker."""
    FOUND = "found"
    """At rest, this is in the store: what is held, letter, waiting (reason says why) or state (without a key: of all
    the tables of the user's). With what=lag: offset records were not settled."""
    REST = "rest"
    """All faults are over, and nothing more would happen by itself. Follows its FOUND steps."""


class Via(StrEnum):
    """How an event came to its handler."""

    LIVE = "live"
    HELD = "held"
    """Back from the store, where it waited."""
    REPLAY = "replay"
    """It was a dead letter."""
    DRAIN = "drain"
    """It waited behind a dead letter, and the replay of that put it through."""


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One step of a trace. `at` is in seconds; times of one trace never go back."""

    op: Op
    at: float = 0.0
    worker: str = ""
    """Who did it, with its incarnation: a worker that died comes back under another name."""
    epoch: int | None = None
    """The fence of the partition that it was done under; None where it stood under none."""
    tx: int = 0
    key: str | None = None
    version: int | None = None
    id: str | None = None
    partition: str | None = None
    offset: int | None = None
    outcome: Outcome | None = None
    via: Via = Via.LIVE
    reason: str | None = None
    what: str | None = None
    state: str | None = None
    """A state as text: equal texts are equal states."""


class Rules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What holds for a whole trace, and what of it was recorded."""

    order: Order = Order.STRICT
    baseline: int = 0
    parks: bool = True
    gap_s: float = Limits().gap_s
    remembered: int = REMEMBERED_IDS
    """Effects of a key after which a duplicate counts as a late one, and so do `remembered_s` seconds."""
    remembered_s: float = 300.0
    replay_per_s: float | None = None
    """The most letters that may be put through in a second; None: no limit was asked for."""
    calls: bool = False
    """Whether the consumer's effects are calls elsewhere, one for each event."""
    records: frozenset[Op] = frozenset(Op)


class Trace(msgspec.Struct):
    """A whole trace."""

    rules: Rules
    steps: list[Step]

    def write(self, out: IO[bytes]) -> None:
        """One line of rules, and one line a step."""
        out.writelines(_ENCODER.encode(one) + b"\n" for one in (self.rules, *self.steps))

    @classmethod
    def read(cls, lines: Iterable[bytes]) -> Trace:
        """A trace that was written. Raises `msgspec.ValidationError` where a line is none of a trace's."""
        found = iter(lines)
        rules = msgspec.json.decode(next(found), type=Rules)
        decoder = msgspec.json.Decoder(Step)
        return cls(rules, [decoder.decode(line) for line in found if line.strip()])


def name_of_trace(steps: Sequence[Step]) -> str:
    """A hash: the same steps have the same name, on any machine."""
    return blake2b(_ENCODER.encode_lines(steps), digest_size=8).hexdigest()


def timeline(steps: Sequence[Step]) -> Iterator[str]:
    """The steps for people, a line each."""
    for number, step in enumerate(steps, 1):
        event = f" {step.key} v{step.version}" if step.version is not None else f" {step.key}" if step.key else ""
        place = f" {step.partition}@{step.offset}" if step.offset is not None and step.partition is not None else ""
        more = [str(one) for one in (step.outcome, step.reason, step.what, step.state) if one is not None]
        if step.via is not Via.LIVE:
            more.append(f"via {step.via}")
        who = f"{step.worker}: " if step.worker else ""
        epoch = f" epoch {step.epoch}" if step.epoch is not None else ""
        yield f"{number:>4}  {who}{step.op}{event}{place}{epoch}{' ' if more else ''}{', '.join(more)}"
