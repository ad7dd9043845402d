"""The search of `explorer` for several keys, where each key is a world of its own: the same states, sooner.

Keys meet in the log, in the partition and its owner, in the time and in the faults that are left, and nowhere else:
each has its own rows. So a state is one state of each key's world, and what an action does to a key is found out once
for each of the key's states, however many states the other keys are in. That it comes to the same states as the search
of the whole is tested; what a function keeps beside its state, this search does not see.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import NamedTuple

import msgspec

from inorder.proof.explorer import Explored, quietly, way_to
from inorder.proof.oracle import Finding
from inorder.proof.payloads import Case
from inorder.proof.saving import REMEMBERED_FOR, Saved
from inorder.proof.scope import Act, Fate, Kind, Place, Scope, costs_of
from inorder.proof.world import Beside, Offers, World

_ASK_CLOCK_EVERY = 64
_OF_FATE = {Fate.CRASH_BEFORE: Beside.DIE, Fate.CRASH_AFTER: Beside.CRASH, Fate.STALL: Beside.MOVE}
_OF_KIND = {Kind.DELIVER: Beside.TURN, Kind.AGAIN: Beside.TURN, Kind.WAKE: Beside.WAKE}

Left = tuple[int, ...]


class After(NamedTuple):
    """What an action does to one key: its state then, and what is wrong with it."""

    number: int
    finding: Finding | None


class Move(NamedTuple):
    """Something that one key could do."""

    act: Act
    own: Act
    """The same under the name that the key has in its lane."""
    beside: Beside | None
    """What it means for other keys."""
    left: Left
    """The faults that are left after it,"""
    matters: Left
    """and what of them matters."""


class Lane:
    """One key's world, and all of its states that were met.

    Of the faults that are left, a state knows only whether there are any of those that are worth remembering something
    for: what an action does to it is the same however many there are.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.all_left: Left = tuple(world.left.values())
        self.saved: list[Saved] = []
        self.offers: list[Offers] = []
        """By the number of a state: what the key could do next, were all faults left."""
        self._numbers: dict[Hashable, int] = {}
        self._after: dict[tuple[object, ...], After] = {}
        self._rests: dict[int, Finding | None] = {}
        self._matters: dict[Left, Left] = {}
        world.left = dict(zip(world.left, self.matters(self.all_left), strict=True))
        self.first = self._number(world.save())

    def matters(self, left: Left) -> Left:
        """What of the faults that are left makes a difference for what is worth remembering."""
        found = self._matters.get(left)
        if found is None:
            pairs = zip(self.world.left, left, strict=True)
            found = self._matters[left] = tuple(min(n, 1) if name in REMEMBERED_FOR else 0 for name, n in pairs)
        return found

    def _number(self, saved: Saved, shown: bool = False) -> int:
        """The number of the state that the world is in, or that its store shows."""
        number = self._numbers.setdefault(self.world.digest(saved), len(self.saved))
        if number == len(self.saved):
            if shown:
                self.world.restore(saved)
            self.saved.append(saved)
            self.world.left = dict(zip(self.world.left, self.all_left, strict=True))
            self.offers.append(self.world.offers())
        return number

    def rest(self, number: int) -> Finding | None:
        """What is wrong with the key at rest."""
        if number not in self._rests:
            self.world.restore(self.saved[number])
            self.world.rest()
            self._rests[number] = self.world.findings[0] if self.world.findings else None
        return self._rests[number]

    def take(self, number: int, act: Act, matters: Left) -> After:
        """The key's own action, after which the faults that are left matter so."""
        at = (number, act, matters)
        found = self._after.get(at)
        return found or self._once(at, number, matters, lambda world: world.take(act))

    def beside(self, number: int, what: Beside | None, matters: Left, seconds: float = 0.0) -> After:
        """What an action of another key, after which the faults that are left matter so, does to this one."""
        saved = self.saved[number]
        if what is None and matters == saved.left:
            return After(number, None)
        at = (number, what, matters, seconds)
        found = self._after.get(at)
        if found is not None:
            return found
        if what is None:
            found = self._after[at] = After(self._number(self.world.with_left(saved, matters), shown=True), None)
            return found
        return self._once(at, number, matters, lambda world: world.beside(what, seconds))

    def _once(self, at: tuple[object, ...], number: int, matters: Left, go: Callable[[World], None]) -> After:
        world = self.world
        world.restore(self.saved[number])
        go(world)
        world.left = dict(zip(world.left, matters, strict=True))
        finding = world.findings[0] if world.findings else None
        found = self._after[at] = After(self._number(world.save()), finding)
        return found


class State(NamedTuple):
    """A state of each lane, and the faults that are left."""

    numbers: tuple[int, ...]
    left: Left


class Product:
    """Lanes side by side."""

    def __init__(self, case: Case, scope: Scope, world_of: Callable[[Case], World]) -> None:
        self.scope = scope
        self.keys = list(dict.fromkeys(key for key, _ in case))
        cases = [{at: one for at, one in case.items() if at[0] == key} for key in self.keys]
        alike = [next(at for at, other in enumerate(cases) if _alike(one, other)) for one in cases]
        made = {at: Lane(world_of(cases[at])) for at in set(alike)}
        self.lanes = [made[at] for at in alike]
        """Keys whose payloads are the same share a lane, and have the name of the first of them there."""
        arrival = scope.arrival(case) if scope.one_arrival else []
        indexes = [(self.keys.index(key), (key, version)) for key, version in arrival]
        self._arrival = [(index, (self.keys[alike[index]], place[1]), place) for index, place in indexes]
        self._faults = list(self.lanes[0].world.left)
        self._known_moves: dict[tuple[int, int, Left], list[Move]] = {}

    def explore(self, seconds: float = 60.0) -> Explored:
        """Every schedule, breadth first, as `explorer.explore` does."""
        began = time.monotonic()
        found = Explored(scope=self.scope)
        root = State(tuple(lane.first for lane in self.lanes), self.lanes[0].all_left)
        queue = deque([(root, 0)])
        known = {root}
        ways: list[tuple[int, Act | None]] = [(0, None)]
        with quietly():
            while queue and found.finding is None:
                state, number = queue.popleft()
                found.states += 1
                if found.states % _ASK_CLOCK_EVERY == 0 and time.monotonic() - began > seconds:
                    break
                found.finding = self._at_rest(state)
                if found.finding is not None:
                    found.schedule = way_to(ways, number)
                else:
                    for act, after, finding in self._next(state):
                        found.actions += 1
                        if finding is not None:
                            found.finding, found.schedule = finding, (*way_to(ways, number), act)
                            break
                        if after not in known:
                            known.add(after)
                            ways.append((number, act))
                            queue.append((after, len(ways) - 1))
            else:
                found.exhausted = found.finding is None
        found.covered = {at for lane in self.lanes for at in lane.world.covered}
        found.seconds = time.monotonic() - began
        return found

    def _at_rest(self, state: State) -> Finding | None:
        pairs = list(zip(self.lanes, state.numbers, strict=True))
        if not all(lane.offers[number].quiet for lane, number in pairs):
            return None
        rests = (lane.rest(number) for lane, number in pairs)
        return next((finding for finding in rests if finding is not None), None)

    def _next(self, state: State) -> Iterator[tuple[Act, State, Finding | None]]:
        """Every action that is possible, the state it leads to, and what is wrong with it."""
        numbers, left = state
        offers = [lane.offers[number] for lane, number in zip(self.lanes, numbers, strict=True)]
        again = any(one.again for one in offers)
        claimed = any(one.claimed for one in offers)
        following = self._following(offers)
        may_begin = True
        for index, (number, one) in enumerate(zip(numbers, offers, strict=True)):
            for move in self._moves(index, number, left):
                kind, place = move.own.kind, move.own.place
                if kind is Kind.DELIVER:
                    late = following is not None and move.act.place != following and place not in one.accepted
                    if again or late or not (one.accepted or may_begin):
                        continue
                elif kind is Kind.REPLAY and claimed:
                    continue
                yield self._taken(numbers, index, move)
            may_begin = may_begin and bool(one.accepted)
        if any(one.due for one in offers):
            yield self._aside(state, Act(Kind.LOOK), Beside.TURN, 0.0)
        elif any(one.urgent for one in offers):
            seconds = min(one.due_in for one in offers)
            yield self._aside(state, Act(Kind.WAIT), Beside.PASS, seconds)

    def _moves(self, index: int, number: int, left: Left) -> list[Move]:
        """What one key could do, with the faults that are left."""
        found = self._known_moves.get((index, number, left))
        if found is None:
            found = self._known_moves[index, number, left] = []
            lane, key = self.lanes[index], self.keys[index]
            for own in lane.offers[number].acts:
                costs = costs_of(own, own.place in lane.offers[number].accepted)
                then = tuple(n - (name in costs) for name, n in zip(self._faults, left, strict=True))
                if min(then, default=0) >= 0:
                    act = own if own.place is None else own._replace(place=(key, own.place[1]))
                    what = _OF_FATE.get(own.fate) or _OF_KIND.get(own.kind)
                    found.append(Move(act, own, what, then, lane.matters(then)))
        return found

    def _taken(self, numbers: tuple[int, ...], index: int, move: Move) -> tuple[Act, State, Finding | None]:
        what, matters = move.beside, move.matters
        own = self.lanes[index].take(numbers[index], move.own, matters)
        after, finding = list(numbers), own.finding
        for at, number in enumerate(numbers):
            if at == index:
                after[at] = own.number
                continue
            other = self.lanes[at]
            # A turn changes nothing for a key of which nothing is due.
            idle = what is Beside.TURN and not other.offers[number].due
            found = other.beside(number, None if idle else what, matters)
            after[at] = found.number
            finding = finding or found.finding
        return move.act, State(tuple(after), move.left), finding

    def _aside(self, state: State, act: Act, what: Beside, seconds: float) -> tuple[Act, State, Finding | None]:
        matters = self.lanes[0].matters(state.left)
        pairs = list(zip(self.lanes, state.numbers, strict=True))
        found = [lane.beside(number, what, matters, seconds) for lane, number in pairs]
        after = State(tuple(one.number for one in found), state.left)
        return act, after, next((one.finding for one in found if one.finding), None)

    def _following(self, offers: list[Offers]) -> Place | None:
        """Where there is only one order of arrival: the event that comes next."""
        return next((place for index, at, place in self._arrival if at not in offers[index].accepted), None)


def _alike(one: Case, other: Case) -> bool:
    """Whether the histories of two keys are the same but for the names of the key and of the events."""

    def plain(case: Case) -> list[object]:
        found: list[object] = []
        for (_, version), message in case.items():
            fields = msgspec.json.decode(message.value)
            named = {message.key, message.id}
            found.append((version, {name: value for name, value in fields.items() if str(value) not in named}))
        return found

    return plain(one) == plain(other)
