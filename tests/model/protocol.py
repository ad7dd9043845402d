"""The protocol of strict order as a small machine: guard, held events, parked keys, letters, fence, settling, replay.

It is written from the documents and imports nothing of inorder, so that a mistake of the core is not repeated here.
Its world: a few keys of a few versions each, in one partition; two workers that may each think the partition theirs;
an operator. A transaction is two steps, its reading and its commit, and everything may happen in between.

Delivery is free: whatever is not settled may be delivered at any time, any number of times, in any order. So one run
of the machine stands for all arrival orders. What is limited, by `Scope`, is how often things go wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

FLOWS, GAP, DUE, PARKED, MISSING, REPLAY = "flows", "gap", "due", "parked", "missing", "replay"
"""How a key is: nothing waits; a version is missing; what waits can go on; an event was given up on; a version was
waited for too long; a replay is at work on it."""
STOPPED = {PARKED, REPLAY}
WORKERS = (0, 1)
OPERATOR = 2


class Key(NamedTuple):
    """One row of the store, with the events that wait and the open letter."""

    last: int = 0
    ledger: tuple[int, ...] = ()
    """What took effect, in order."""
    held: frozenset[int] = frozenset()
    how: str = FLOWS
    letter: int = 0
    """The version that was given up on and not replayed; 0: none."""


class Flight(NamedTuple):
    """A transaction between its reading and its commit, or a delivery between its commit and its settling."""

    key: int
    version: int
    """Of the delivery; 0 when there is none to settle."""
    row: Key | None
    """What it writes over the key's row; None: nothing but counts."""
    fresh: bool = True
    """Nobody has written the row since it was read."""
    committed: bool = False
    fence: int = 0
    waited: frozenset[int] = frozenset()
    """What waited when the row was read. Events that wait have rows of their own: only what has changed is written."""


class State(NamedTuple):
    """Everything."""

    keys: tuple[Key, ...]
    settled: frozenset[tuple[int, int]]
    flights: tuple[Flight | None, Flight | None, Flight | None]
    fence: int = 0
    owner: int = 0
    mended: bool = False
    twice: int = 0
    crashes: int = 0
    zombies: int = 0
    waits: int = 0


class Action(NamedTuple):
    """One step. `what` is what is done, by `who`, to `key` and `version` (0 where there is none)."""

    what: str
    who: int
    key: int = 0
    version: int = 0


@dataclass(frozen=True)
class Scope:
    """How large the world is, and how often what goes wrong."""

    keys: int = 2
    versions: int = 3
    twice: int = 0
    """Events that are delivered again although they are settled."""
    crashes: int = 0
    zombies: int = 0
    """Partitions taken away without a word."""
    waits: int = 0
    """Gaps that outlast their limit, and replays that die."""
    poison: tuple[int, int] | None = None
    """The key and version that fail, until an operator has mended the handler."""

    def __str__(self) -> str:
        wrong = {"twice": self.twice, "crash": self.crashes, "zombie": self.zombies, "wait": self.waits}
        words = [f"{n} {what}" for what, n in wrong.items() if n]
        if self.poison:
            words.append(f"version {self.poison[1]} fails")
        return ", ".join([f"{self.keys} x {self.versions}", *words])


@dataclass(frozen=True)
class Without:
    """What is left out of the protocol, to see that it is needed."""

    guard: bool = False
    held: bool = False
    parking: bool = False
    fence: bool = False
    revision: bool = False
    settling_after: bool = False
    """Settle a delivery when it is read, not when it is committed."""


class Protocol:
    """The machine for one scope."""

    def __init__(self, scope: Scope, without: Without | None = None) -> None:
        self.scope = scope
        self.without = without or Without()
        self.events = [(key, version) for key in range(scope.keys) for version in range(1, scope.versions + 1)]

    def start(self) -> State:
        """Nothing has been delivered."""
        return State((Key(),) * self.scope.keys, frozenset(), (None, None, None))

    def steps(self, state: State) -> Iterator[tuple[Action, State]]:
        """Every step that may be taken now, and what it leads to."""
        for worker in WORKERS:
            flight = state.flights[worker]
            if flight is None:
                yield from self._begin(state, worker)
            else:
                yield self._end(state, worker, flight)
                if state.crashes < self.scope.crashes:
                    crashed = state._replace(crashes=state.crashes + 1)
                    yield Action("crash", worker), _with(crashed, worker, None)
        if state.zombies < self.scope.zombies:
            heir = 1 - state.owner
            taken = state._replace(owner=heir, fence=state.fence + 1, zombies=state.zombies + 1)
            # Whoever takes over starts with nothing in its hands.
            yield Action("takeover", heir), _with(taken, heir, None)
        yield from self._operate(state)

    def _begin(self, state: State, worker: int) -> Iterator[tuple[Action, State]]:
        if worker != state.owner:
            return  # what it has not read yet, it will read under a fence that is refused anyway
        fence = state.fence
        for key, version in self.events:
            again = (key, version) in state.settled
            if again and state.twice >= self.scope.twice:
                continue
            before = state._replace(twice=state.twice + 1) if again else state
            if self.without.settling_after:
                before = before._replace(settled=before.settled | {(key, version)})
            row = self._deliver(state.keys[key], key, version, state.mended)
            flight = Flight(key, version, row, fence=fence, waited=state.keys[key].held)
            yield Action("deliver", worker, key, version), _with(before, worker, flight)
        for key, kept in enumerate(state.keys):
            if kept.how == DUE:
                flight = Flight(key, 0, self._drain(kept, key, state.mended), fence=fence, waited=kept.held)
                yield Action("wake", worker, key), _with(state, worker, flight)
            elif kept.how in {GAP, REPLAY} and state.waits < self.scope.waits:
                late = kept._replace(how=MISSING) if kept.how == GAP else self._drain(kept, key, state.mended)
                waited = state._replace(waits=state.waits + 1)
                yield (
                    Action("expire", worker, key),
                    _with(waited, worker, Flight(key, 0, late, fence=fence, waited=kept.held)),
                )

    def _end(self, state: State, who: int, flight: Flight) -> tuple[Action, State]:
        gone = _with(state, who, None)
        if flight.committed:
            # The broker listens only to whoever has the partition now.
            if flight.fence == state.fence:
                gone = gone._replace(settled=gone.settled | {(flight.key, flight.version)})
            return Action("settle", who, flight.key, flight.version), gone
        if flight.fence != state.fence and who != OPERATOR and not self.without.fence:
            return Action("refused", who), gone
        if flight.row is not None:
            if not flight.fresh and not self.without.revision:
                return Action("mismatch", who), gone
            keys = list(gone.keys)
            row, waiting = flight.row, keys[flight.key].held
            keys[flight.key] = row._replace(held=(waiting - flight.waited) | row.held)
            flights = [_older(one, flight.key) for one in gone.flights]
            gone = gone._replace(keys=tuple(keys), flights=(flights[0], flights[1], flights[2]))
        if flight.version and who != OPERATOR:
            gone = _with(gone, who, Flight(flight.key, flight.version, None, committed=True, fence=flight.fence))
        return Action("commit", who), gone

    def _operate(self, state: State) -> Iterator[tuple[Action, State]]:
        flight = state.flights[OPERATOR]
        if flight is not None:
            yield self._end(state, OPERATOR, flight)
            return
        for key, kept in enumerate(state.keys):
            if kept.letter and kept.how == PARKED:
                mended = state._replace(mended=True)
                row = self._replayed(kept)
                yield Action("replay", OPERATOR, key), _with(mended, OPERATOR, Flight(key, 0, row, waited=kept.held))
            elif kept.how == REPLAY:
                row = self._drain(kept, key, state.mended)
                yield Action("drain", OPERATOR, key), _with(state, OPERATOR, Flight(key, 0, row, waited=kept.held))

    def _deliver(self, kept: Key, key: int, version: int, mended: bool) -> Key | None:
        """What a delivery makes of a row; None: nothing, it was there before."""
        if self.without.guard:
            return kept._replace(last=max(kept.last, version), ledger=(*kept.ledger, version))
        if version in kept.held or version <= kept.last:
            # A key that can go on is noted once more, so that this worker looks after it too.
            return kept if kept.how == DUE else None
        if version > kept.last + 1 or kept.how in STOPPED:
            return self._hold(kept, version)
        if kept.last in kept.held:
            # What waits is decided first: it is the last version again, delivered while it was a letter.
            return self._hold(kept, version)
        return _looked_ahead(self._applied(kept, key, version, mended))

    def _hold(self, kept: Key, version: int) -> Key | None:
        if self.without.held:
            return None
        return kept._replace(held=kept.held | {version}, how=GAP if kept.how == FLOWS else kept.how)

    def _applied(self, kept: Key, key: int, version: int, mended: bool) -> Key:
        held = kept.held - {version}
        if (key, version) == self.scope.poison and not mended:
            if self.without.parking:
                return kept._replace(last=version, held=held, letter=version)
            return kept._replace(held=held, how=PARKED, letter=version)
        return kept._replace(last=version, ledger=(*kept.ledger, version), held=held)

    def _drain(self, kept: Key, key: int, mended: bool) -> Key:
        """What waits is decided in the order of its versions, as far as it goes."""
        kept = kept._replace(how=DUE)
        for version in sorted(kept.held):
            if version <= kept.last:
                kept = kept._replace(held=kept.held - {version})
            elif version == kept.last + 1 and kept.how == DUE:
                kept = self._applied(kept, key, version, mended)
        return _looked_ahead(kept)

    def _replayed(self, kept: Key) -> Key:
        version = kept.letter
        if version <= kept.last:
            return kept._replace(letter=0)
        kept = kept._replace(last=version, ledger=(*kept.ledger, version), letter=0)
        return kept._replace(how=REPLAY) if version + 1 in kept.held else _resumed(kept)

    def wrong(self, state: State) -> str | None:
        """What must never be seen."""
        for number, kept in enumerate(state.keys):
            if kept.ledger != tuple(range(1, len(kept.ledger) + 1)):
                return f"key {number}: {list(kept.ledger)} took effect"
            known = {*kept.ledger, *kept.held, kept.letter}
            lost = [version for key, version in state.settled if key == number and version not in known]
            if lost:
                return f"key {number}: {lost} settled, and nowhere"
            if kept.letter and kept.last >= kept.letter:
                return f"key {number}: went on past the letter {kept.letter}"
        return None

    def stuck(self, state: State) -> str | None:
        """What must not be left once everything is settled and nothing is under way."""
        if len(state.settled) < len(self.events) or any(state.flights):
            return None
        for number, kept in enumerate(state.keys):
            if kept.how in {DUE, REPLAY} or kept.letter:
                continue  # there is still something to do
            if kept.last < self.scope.versions or kept.held or kept.how != FLOWS:
                return f"key {number}: {kept} for ever"
        return None


def _looked_ahead(kept: Key) -> Key:
    """How a key is once a decision is made about it: stopped, flowing, or waiting for what comes next."""
    if kept.how == PARKED:
        return kept
    return _resumed(kept)


def _resumed(kept: Key) -> Key:
    if not kept.held:
        return kept._replace(how=FLOWS)
    return kept._replace(how=DUE if min(kept.held) <= kept.last + 1 else GAP)


def _older(flight: Flight | None, key: int) -> Flight | None:
    if flight is None or flight.key != key or flight.row is None:
        return flight
    return flight._replace(fresh=False)


def _with(state: State, who: int, flight: Flight | None) -> State:
    flights = list(state.flights)
    flights[who] = flight
    return state._replace(flights=(flights[0], flights[1], flights[2]))
