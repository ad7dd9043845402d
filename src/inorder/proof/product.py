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
from inorder.proof.scope import Act, Fate, Kind, Place, Scope
from inorder.proof.world import Beside, Offers, Saved, World

_ASK_CLOCK_EVERY = 64
_BESIDE = {Fate.CRASH_BEFORE: Beside.DIE, Fate.CRASH_AFTER: Beside.CRASH, Fate.STALL: Beside.MOVE}

Left = tuple[int, ...]


class After(NamedTuple):
    """What an action does to one key: its state then, and what is wrong with it."""

    number: int
    finding: Finding | None


class Lane:
    """One key's world, and all of its states that were met."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.saved: list[Saved] = []
        self._numbers: dict[Hashable, int] = {}
        self._after: dict[tuple[object, ...], After] = {}
        self._offers: dict[int, Offers] = {}
        self._rests: dict[int, Finding | None] = {}
        self.first = self._number()

    def _number(self) -> int:
        saved = self.world.save()
        digest = self.world.digest(saved)
        number = self._numbers.setdefault(digest, len(self.saved))
        if number == len(self.saved):
            self.saved.append(saved)
        return number

    def left(self, number: int) -> Left:
        """The faults that are left."""
        return self.saved[number].left

    def offers(self, number: int) -> Offers:
        """What the key could do next."""
        found = self._offers.get(number)
        if found is None:
            self.world.restore(self.saved[number])
            found = self._offers[number] = self.world.offers()
        return found

    def rest(self, number: int) -> Finding | None:
        """What is wrong with the key at rest."""
        if number not in self._rests:
            self.world.restore(self.saved[number])
            self.world.rest()
            self._rests[number] = self.world.findings[0] if self.world.findings else None
        return self._rests[number]

    def take(self, number: int, act: Act) -> After:
        """The key's own action."""
        return self._once((number, act), number, lambda world: world.take(act))

    def beside(self, number: int, what: Beside | None, left: Left, seconds: float = 0.0) -> After:
        """What an action of another key, after which so many faults are left, does to this one."""

        def go(world: World) -> None:
            world.left = dict(zip(world.left, left, strict=True))
            if what is not None:
                world.beside(what, seconds)

        return self._once((number, what, left, seconds), number, go)

    def _once(self, at: tuple[object, ...], number: int, go: Callable[[World], None]) -> After:
        found = self._after.get(at)
        if found is None:
            self.world.restore(self.saved[number])
            go(self.world)
            finding = self.world.findings[0] if self.world.findings else None
            found = self._after[at] = After(self._number(), finding)
        return found


State = tuple[int, ...]
"""A state of each lane."""


class Product:
    """Lanes side by side."""

    def __init__(self, case: Case, scope: Scope, world_of: Callable[[Case], World]) -> None:
        self.scope = scope
        self.keys = list(dict.fromkeys(key for key, _ in case))
        cases = [{at: one for at, one in case.items() if at[0] == key} for key in self.keys]
        alike = [next(at for at, other in enumerate(cases) if _alike(one, other)) for one in cases]
        made = {at: Lane(world_of(cases[at])) for at in set(alike)}
        self.lanes = [made[at] for at in alike]
        self._names = [self.keys[at] for at in alike]
        """What each key is called in its lane: keys whose payloads are the same share one."""
        self._arrival = scope.arrival(case) if scope.one_arrival else []

    def explore(self, seconds: float = 60.0) -> Explored:
        """Every schedule, breadth first, as `explorer.explore` does."""
        began = time.monotonic()
        found = Explored(scope=self.scope)
        root: State = tuple(lane.first for lane in self.lanes)
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
        if not all(lane.offers(number).quiet for lane, number in zip(self.lanes, state, strict=True)):
            return None
        rests = (lane.rest(number) for lane, number in zip(self.lanes, state, strict=True))
        return next((finding for finding in rests if finding is not None), None)

    def _next(self, state: State) -> Iterator[tuple[Act, State, Finding | None]]:
        """Every action that is possible, the state it leads to, and what is wrong with it."""
        offers = [lane.offers(number) for lane, number in zip(self.lanes, state, strict=True)]
        again = any(one.again for one in offers)
        claimed = any(one.claimed for one in offers)
        following = self._following(state) if self._arrival else None
        unused = False
        for index, one in enumerate(offers):
            may_begin = one.used or not unused
            unused = unused or not one.used
            for act in (self._named(act, self.keys[index]) for act in one.acts):
                new = act.kind is Kind.DELIVER and not self._accepted(state, act.place)
                if act.kind is Kind.DELIVER and (
                    again or not may_begin or (new and following not in {None, act.place})
                ):
                    continue
                if act.kind is Kind.REPLAY and claimed:
                    continue
                yield self._taken(state, index, act)
        if any(one.due for one in offers):
            yield self._aside(state, Act(Kind.LOOK), Beside.TURN, 0.0)
        elif any(one.urgent for one in offers):
            seconds = min(one.due_in for one in offers)
            yield self._aside(state, Act(Kind.WAIT), Beside.PASS, seconds)

    def _taken(self, state: State, index: int, act: Act) -> tuple[Act, State, Finding | None]:
        own = self.lanes[index].take(state[index], self._named(act, self._names[index]))
        left = self.lanes[index].left(own.number)
        what = _BESIDE.get(act.fate)
        if what is None and act.kind in {Kind.DELIVER, Kind.AGAIN}:
            what = Beside.TURN
        elif act.kind is Kind.WAKE:
            what = Beside.WAKE
        after, finding = [], own.finding
        for at, (lane, number) in enumerate(zip(self.lanes, state, strict=True)):
            found = own if at == index else lane.beside(number, self._need(what, lane, number), left)
            after.append(found.number)
            finding = finding or found.finding
        return act, tuple(after), finding

    def _aside(self, state: State, act: Act, what: Beside, seconds: float) -> tuple[Act, State, Finding | None]:
        pairs = list(zip(self.lanes, state, strict=True))
        found = [lane.beside(number, what, lane.left(number), seconds) for lane, number in pairs]
        return act, tuple(one.number for one in found), next((one.finding for one in found if one.finding), None)

    def _need(self, what: Beside | None, lane: Lane, number: int) -> Beside | None:
        """A turn changes nothing for a key of which nothing is due."""
        return None if what is Beside.TURN and not lane.offers(number).due else what

    @staticmethod
    def _named(act: Act, key: str) -> Act:
        return act if act.place is None else act._replace(place=(key, act.place[1]))

    def _accepted(self, state: State, place: Place | None) -> bool:
        if place is None:
            return False
        at = self.keys.index(place[0])
        return place[1] in self.lanes[at].saved[state[at]].judge.history.claimed.get(self._names[at], [])

    def _following(self, state: State) -> Place | None:
        return next((place for place in self._arrival if not self._accepted(state, place)), None)


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
