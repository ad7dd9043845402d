"""What a trace has told so far. Checkers look at it and at the next step; nothing here judges."""

from __future__ import annotations

from typing import Any

import msgspec

from inorder.core.order import Order
from inorder.proof.trace import Op, Rules, Step, Via

Place = tuple[str, int]
"""A key and a version."""
Position = tuple[str | None, int | None]
"""A partition and an offset."""
Name = tuple[str | None, int | None, str | None]
"""A key, a version and an event id."""


class Effect(msgspec.Struct, frozen=True, gc=False):
    """A ledger row: one effect that is in force."""

    version: int
    id: str
    via: Via
    at: float
    tx: int
    nth: int
    """Its place among the effects of its key, from 0."""


class History:
    """Everything that checkers ask about the steps before the present one. `see` adds a step."""

    __slots__ = (
        "accepted",
        "applied",
        "called",
        "claimed",
        "claims",
        "committed",
        "epochs",
        "epochs_ended",
        "failed",
        "found",
        "held",
        "kept",
        "last",
        "ledger",
        "lettered",
        "lettered_names",
        "letters",
        "offsets",
        "owners_called",
        "replayed_at",
        "rules",
        "run_ends",
        "running",
        "settled",
        "shared",
        "skipped",
        "states",
        "top",
        "waited",
    )

    def __init__(self, rules: Rules) -> None:  # noqa: PLR0915  # one line for each thing it knows
        self.rules = rules
        self.accepted: dict[Position, Name] = {}
        """Every record that the broker keeps."""
        self.offsets: dict[str | None, list[int]] = {}
        """By partition: the offsets of its records, in the order they were accepted."""
        self.settled: dict[str | None, int] = {}
        """By partition: how many of those were below the highest offset committed."""
        self.claimed: dict[str, list[int]] = {}
        """By key: the versions of the accepted events, in the order they were first accepted."""
        self.claims: dict[Place, list[str]] = {}
        """By key and version: the ids of the accepted events, in that order."""
        self.ledger: dict[str, list[Effect]] = {}
        """By key: the effects, in the order they were committed."""
        self.applied: dict[Place, list[Effect]] = {}
        """The same by key and version."""
        self.top: dict[str, int] = {}
        """By key: the highest version in effect."""
        self.run_ends: dict[str, int] = {}
        """By key: the version up to which all took effect or were skipped."""
        self.states: dict[str, str | None] = {}
        self.held: dict[Place, Step] = {}
        """What has a durable place now."""
        self.waited: set[Name] = set()
        """What ever had one."""
        self.letters: dict[Position, Step] = {}
        """The letters that are open."""
        self.failed: dict[str, tuple[Step, ...]] = {}
        """By key: those of them whose handler failed."""
        self.lettered: set[Position] = set()
        """The positions of all letters ever written."""
        self.lettered_names: set[Name] = set()
        """Their events, as they were accepted."""
        self.kept: set[Name] = set()
        """Events that are in effect, have a durable place, or are letters, or ever were."""
        self.skipped: set[Place] = set()
        self.epochs: dict[str | None, int] = {}
        """By partition: the epoch of its newest owner."""
        self.epochs_ended: set[tuple[str | None, int]] = set()
        """Partitions and epochs that are over, as far as their owners know."""
        self.committed: dict[tuple[str | None, int | None], int] = {}
        """By partition and epoch: the highest offset committed."""
        self.running: dict[str, list[Step]] = {}
        """By key: the handlers that run."""
        self.called: dict[str, int] = {}
        """By idempotency key: how many calls there were."""
        self.owners_called: dict[str | None, int] = {}
        """By partition: the newest epoch under which a call was made."""
        self.replayed_at: list[float] = []
        self.shared: set[Any] | None = None
        """Which inner lists are this history's own, where there are copies of it."""
        self.found: list[Step] = []
        """What was found at rest, until the step that says that it was all."""
        self.last: Step | None = None

    def copy(self) -> History:
        """A history of its own: what is added to one is not in the other. What is inside is copied when it changes."""
        twin = History.__new__(History)
        twin.rules, twin.last = self.rules, self.last
        twin.accepted, twin.offsets, twin.settled = self.accepted.copy(), self.offsets.copy(), self.settled.copy()
        twin.claimed, twin.claims = self.claimed.copy(), self.claims.copy()
        twin.ledger, twin.applied = self.ledger.copy(), self.applied.copy()
        twin.top, twin.run_ends, twin.states = self.top.copy(), self.run_ends.copy(), self.states.copy()
        twin.held, twin.waited, twin.kept = self.held.copy(), self.waited.copy(), self.kept.copy()
        twin.letters, twin.lettered, twin.failed = self.letters.copy(), self.lettered.copy(), self.failed.copy()
        twin.lettered_names, twin.skipped = self.lettered_names.copy(), self.skipped.copy()
        twin.epochs, twin.epochs_ended = self.epochs.copy(), self.epochs_ended.copy()
        twin.committed, twin.running, twin.called = self.committed.copy(), self.running.copy(), self.called.copy()
        twin.owners_called, twin.replayed_at = self.owners_called.copy(), self.replayed_at.copy()
        twin.found = self.found.copy()
        twin.shared, self.shared = set(), set()
        return twin

    def inner(self, name: str, key: Any) -> Any:
        """A list that belongs to a key, to be added to: one that a copy of this history shares is copied first."""
        table, shared = getattr(self, name), self.shared
        found = table.get(key)
        if found is None:
            found = table[key] = []
        elif shared is None:
            return found
        elif (name, key) not in shared:
            found = table[key] = found.copy()
        if shared is not None:
            shared.add((name, key))
        return found

    def effects(self, key: str | None) -> list[Effect]:
        """The effects of a key so far."""
        return self.ledger.get(key or "", [])

    def times(self, key: str | None, version: int) -> list[Effect]:
        """The effects of one version."""
        return self.applied.get((key or "", version), [])

    def run_end(self, key: str | None) -> int:
        """The version up to which all of a key took effect or were skipped."""
        return self.run_ends.get(key or "", self.rules.baseline)

    def durable(self, name: Name, position: Position) -> bool:
        """Whether the store knows what became of a record: it may be settled."""
        return name in self.kept or position in self.lettered or self.superfluous(name)

    def superfluous(self, name: Name) -> bool:
        """Whether an event is not needed: below the baseline, skipped, or older than the snapshot in effect."""
        key, version, _ = name
        if key is None or version is None:
            return False
        if version <= self.rules.baseline or (key, version) in self.skipped:
            return True
        return self.rules.order is Order.LATEST and self.top.get(key, 0) > version

    def see(self, step: Step) -> None:
        """Add a step."""
        recorder = _RECORDERS.get(step.op)
        if recorder is not None:
            recorder(self, step)
        self.last = step

    def _accepted(self, step: Step) -> None:
        self.accepted[step.partition, step.offset] = name_of(step)
        self.inner("offsets", step.partition).append(step.offset or 0)
        if step.key is not None and step.version is not None and step.id is not None:
            ids = self.inner("claims", (step.key, step.version))
            if not ids:
                self.inner("claimed", step.key).append(step.version)
            if step.id not in ids:
                ids.append(step.id)

    def _assigned(self, step: Step) -> None:
        self.epochs[step.partition] = max(self.epochs.get(step.partition, 0), step.epoch or 0)

    def _revoked(self, step: Step) -> None:
        if step.epoch is not None:
            self.epochs_ended.add((step.partition, step.epoch))

    def _started(self, step: Step) -> None:
        self.inner("running", step.key or "").append(step)

    def _ended(self, step: Step) -> None:
        runs = self.inner("running", step.key or "")
        for at, run in enumerate(runs):
            if (run.worker, name_of(run)) == (step.worker, name_of(step)):
                del runs[at]
                return

    def _crashed(self, step: Step) -> None:
        for key, runs in self.running.items():
            self.running[key] = [run for run in runs if run.worker != step.worker]

    def _called(self, step: Step) -> None:
        self.called[step.id or ""] = self.called.get(step.id or "", 0) + 1
        if step.epoch is not None:
            self.owners_called[step.partition] = max(self.owners_called.get(step.partition, 0), step.epoch)

    def _applied(self, step: Step) -> None:
        assert step.key is not None
        assert step.version is not None
        key, version = step.key, step.version
        effects = self.inner("ledger", key)
        effects.append(Effect(version, step.id or "", step.via, step.at, step.tx, len(effects)))
        self.inner("applied", (key, version)).append(effects[-1])
        self._run_on(key)
        if version > self.top.get(key, self.rules.baseline):
            self.top[key] = version
        self.kept.add((key, version, step.id))
        if step.via is Via.REPLAY:
            self.replayed_at.append(step.at)

    def _state(self, step: Step) -> None:
        self.states[step.key or ""] = step.state

    def _held(self, step: Step) -> None:
        self.held[step.key or "", step.version or 0] = step
        self.waited.add(name_of(step))
        self.kept.add(name_of(step))

    def _released(self, step: Step) -> None:
        self.held.pop((step.key or "", step.version or 0), None)

    def _letter(self, step: Step) -> None:
        if (step.partition, step.offset) in self.lettered and (step.partition, step.offset) not in self.letters:
            return  # dealt with: that its record comes again does not open it again
        before = self.letters.get((step.partition, step.offset))
        if before is not None and before.reason == "failed" and step.reason != "failed":
            return  # what parked its key stays what it is
        self.letters[step.partition, step.offset] = step
        if step.reason == "failed" and step.key is not None:
            others = (one for one in self.failed.get(step.key, ()) if one is not before)
            self.failed[step.key] = (*others, step)
        self.lettered.add((step.partition, step.offset))
        self.lettered_names.add(self.accepted.get((step.partition, step.offset), name_of(step)))
        self.kept.add(name_of(step))

    def _resolved(self, step: Step) -> None:
        letter = self.letters.pop((step.partition, step.offset), None)
        if letter is not None and letter.key in self.failed:
            self.failed[letter.key] = tuple(one for one in self.failed[letter.key] if one is not letter)

    def _skipped(self, step: Step) -> None:
        self.skipped.add((step.key or "", step.version or 0))
        self._run_on(step.key or "")

    def _run_on(self, key: str) -> None:
        end = self.run_end(key)
        while (following := (key, end + 1)) in self.applied or following in self.skipped:
            end += 1
        self.run_ends[key] = end

    def _committed(self, step: Step) -> None:
        at, offsets = (step.partition, step.epoch), self.offsets.get(step.partition, [])
        settled = self.settled.get(step.partition, 0)
        while settled < len(offsets) and offsets[settled] < (step.offset or 0):
            settled += 1
        self.settled[step.partition] = settled
        self.committed[at] = max(self.committed.get(at, 0), step.offset or 0)

    def _found(self, step: Step) -> None:
        self.found.append(step)

    def _rest(self, step: Step) -> None:
        self.found = []


_RECORDERS = {op: getattr(History, f"_{op.value}", None) for op in Op}


def name_of(step: Step) -> Name:
    """The event that a step is about."""
    return step.key, step.version, step.id
