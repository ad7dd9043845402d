"""Makes a failing course small, by steps that mean something: leave out an event, a fault, a worker; reorder less.

What is left is then tried from the other side: every course of the same kinds of acts, shortest first. When that comes
to its end before the course's own length, "no smaller schedule fails" is true of these acts. Of courses that differ
only in the order of acts that have nothing to do with each other, one is tried.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count, groupby, product

import msgspec

from inorder.proof.course import RIVAL, Act, Course, Do, Failing

MANY_TURNS = 3
MANY_ACTS = 30
"""What is longer once nothing can be left out is looked for in another way."""
DEEPEST_BELOW = 3

Fails = Callable[[Course], bool]


class Shrunk(msgspec.Struct):
    """A failing course, as small as it was made."""

    course: Course
    tried: int
    """Courses that were played on the way."""
    minimal: bool
    """Whether every shorter course of the same acts was played, and none failed."""


def shrink(course: Course, fails: Fails, seconds: float = 10.0) -> Shrunk:
    """Leave out, simplify, and search anew from the smallest, for about so long. `course` must fail."""
    search = _Search(fails, time.monotonic() + seconds)
    before, whole, course = None, course, search.without(course)
    if len(course.acts) > MANY_ACTS:
        course = search.from_below(whole) or course
    while before != course and not search.over:
        before = course
        course = search.without(course)
        for simpler in _simpler(course):
            if search.accepts(simpler):
                course = simpler
                break
    found, minimal = search.deepen(course)
    return Shrunk(found, search.tried, minimal)


class _Search:
    def __init__(self, fails: Fails, until: float) -> None:
        self._fails = fails
        self._until = until
        self.tried = 0

    @property
    def over(self) -> bool:
        return time.monotonic() > self._until

    def accepts(self, course: Course) -> bool:
        """Whether this one fails too."""
        if self.over:
            return False
        self.tried += 1
        return self._fails(course)

    def without(self, course: Course) -> Course:
        """Leave out acts, in halves, quarters, and so on down to one by one; and failures of the handler."""
        size = max(1, len(course.acts) // 2)
        while size and not self.over:
            at = len(course.acts)
            while at > 0:
                at = max(0, at - size)
                left = course.acts[:at] + course.acts[at + size :]
                smaller = msgspec.structs.replace(course, acts=left)
                if len(left) < len(course.acts) and self.accepts(smaller):
                    course = smaller
            size //= 2
        for failing in course.failing:
            smaller = msgspec.structs.replace(course, failing=tuple(one for one in course.failing if one != failing))
            if self.accepts(smaller):
                course = smaller
        return course

    def from_below(self, course: Course) -> Course | None:
        """The shortest course of the simplest acts of the same kinds: one key, a few versions, the first workers."""
        kinds = {(act.do, act.what): act for act in course.acts}
        acts = [Act(Do.SEND, 0, "k0", version) for version in (1, 2)]
        for (do, what), act in kinds.items():
            if do is Do.SEND and what:
                acts.append(Act(do, 0, "k0", 1, what))
            elif do is not Do.SEND:
                heir = 1 if do in {Do.MOVE, Do.SEIZE} and course.workers > 1 else 0
                acts.append(Act(do, act.n if do is Do.PASS else heir, "", 2 if do is Do.STALL else 0))
        hows = dict.fromkeys(one.how for one in course.failing)
        failings = [(), *((Failing("k0", 1, how),) for how in hows)]
        for length in range(1, DEEPEST_BELOW + 1):
            for failing, chosen in product(failings, sequences(acts, length)):
                found = msgspec.structs.replace(course, partitions=1, acts=chosen, failing=failing)
                if self.over:
                    return None
                if found.events and self.accepts(found):
                    return found
        return None

    def deepen(self, course: Course) -> tuple[Course, bool]:
        """Every course of the same acts, shortest first, as far as time allows."""
        acts = list(dict.fromkeys(course.acts))
        for length in range(1, len(course.acts)):
            for chosen in sequences(acts, length):
                if self.over:
                    return course, False
                shorter = msgspec.structs.replace(course, acts=chosen)
                if shorter.events and self.accepts(shorter):
                    return shorter, True
        return course, True


def sequences(acts: Sequence[Act], length: int) -> Iterator[tuple[Act, ...]]:
    """All sequences of so many of these acts, but one only of those that are the same by `_apart`."""
    if not length:
        yield ()
        return
    # Whoever stands still does so for a number of acts: then the order of any two tells which are among them.
    stalls = any(act.do is Do.STALL for act in acts)
    for before in sequences(acts, length - 1):
        last = acts.index(before[-1]) if before and not stalls else 0
        for at, act in enumerate(acts):
            if at >= last or not _apart(acts[last], act):
                yield (*before, act)


def _apart(first: Act, second: Act) -> bool:
    """Whether it makes no difference which of two acts comes first when one follows the other."""
    both = {first.do, second.do}
    return both == {Do.PASS} or (Do.SEND in both and bool(both & _WITHOUT_THE_LOG))


_WITHOUT_THE_LOG = {Do.PASS, Do.DOWN, Do.CUT, Do.CRASH, Do.MOVE, Do.SEIZE, Do.REPLAY, Do.DIE, Do.SKIP}
"""Acts that neither add to what the broker keeps nor read any of it."""


def _simpler(course: Course) -> Iterator[Course]:
    """Courses of the same length or less that are simpler, each by one step."""
    change = msgspec.structs.replace
    if course.workers > 1:
        yield change(course, workers=course.workers - 1)
    if course.partitions > 1:
        yield change(course, partitions=1)
    for key in sorted({act.key for act in course.acts if act.do is Do.SEND}):
        kept = tuple(act for act in course.acts if act.key != key)
        yield change(course, acts=kept)
        yield from _renumbered(course, key)
        yield from _renamed(course, key)
    yield from _at_once(course)
    longest = max((act.n for act in course.acts if act.do is Do.PASS), default=0)
    for at, act in enumerate(course.acts):
        before, after = course.acts[:at], course.acts[at + 1 :]
        if act.n and act.do is not Do.PASS:
            yield change(course, acts=(*before, act._replace(n=0), *after))
        if act.do is Do.STALL and act.version > 1:
            yield change(course, acts=(*before, act._replace(version=act.version - 1), *after))
        if act.do is Do.PASS and act.n < longest:
            # All waits alike: the fewer kinds of acts there are, the fewer shorter courses.
            yield change(course, acts=(*before, act._replace(n=longest), *after))
        if act.what == RIVAL:
            yield change(course, acts=(*before, act._replace(what=""), *after))
        if at and _out_of_order(course.acts[at - 1], act):
            yield change(course, acts=(*before[:-1], act, before[-1], *after))


def _at_once(course: Course) -> Iterator[Course]:
    """In place of many turns that only let time pass: time that passes and one turn, or one before and one after it."""
    begin = 0
    for act, run in groupby(course.acts):
        length = len(list(run))
        if act.do in {Do.WORK, Do.TURN, Do.STEP} and length >= MANY_TURNS:
            before, rest = course.acts[:begin], course.acts[begin + length :]
            for instead in ((Act(Do.PASS, length), act), (act, Act(Do.PASS, length), act)):
                yield msgspec.structs.replace(course, acts=(*before, *instead, *rest))
        begin += length


def _out_of_order(first: Act, second: Act) -> bool:
    both = first.do is Do.SEND and second.do is Do.SEND
    return both and (first.key, first.version) > (second.key, second.version)


def _renumbered(course: Course, key: str) -> Iterator[Course]:
    """A key's history without its first version, or without one that nobody sends: the later ones move down."""
    sent = {act.version for act in course.acts if act.do is Do.SEND and act.key == key}
    missing = [version for version in range(1, max(sent)) if version not in sent][:1]
    for gone in dict.fromkeys((1, *missing)):
        acts = (
            act._replace(version=act.version - 1) if (act.do, act.key) == (Do.SEND, key) and act.version > gone else act
            for act in course.acts
            if (act.do, act.key, act.version) != (Do.SEND, key, gone)
        )
        failing = (
            one._replace(version=one.version - 1) if one.key == key and one.version > gone else one
            for one in course.failing
            if (one.key, one.version) != (key, gone)
        )
        yield msgspec.structs.replace(course, acts=tuple(acts), failing=tuple(failing))


def _renamed(course: Course, key: str) -> Iterator[Course]:
    """The same with a lower name for a key, where one is free."""
    names = {act.key for act in course.acts}
    free = next(name for name in map("k{}".format, count()) if name not in names)
    if (len(free), free) < (len(key), key):
        acts = tuple(act._replace(key=free) if act.key == key else act for act in course.acts)
        failing = tuple(one._replace(key=free) if one.key == key else one for one in course.failing)
        yield msgspec.structs.replace(course, acts=acts, failing=failing)
