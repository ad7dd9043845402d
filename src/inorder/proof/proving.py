"""Proves a consumer, or finds a smallest schedule that breaks it.

First the function alone: is it what it says? Then scope after scope, every schedule of each, from the smallest on.
What is found is made smaller still, and explained.
"""

from __future__ import annotations

import time
from collections import Counter as Bag
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from inorder.codecs.payload import encoder
from inorder.core.order import Order
from inorder.core.rows import Counter
from inorder.core.words import describe
from inorder.declaration import Kind, declaration_of
from inorder.proof.anomalies import ANOMALIES
from inorder.proof.explaining import Anomalous, explain, told
from inorder.proof.explorer import Explored, explore, play, quietly
from inorder.proof.oracle import Finding
from inorder.proof.payloads import Case, Payloads, Values
from inorder.proof.product import Product
from inorder.proof.purity import TIMES, Seen, watching
from inorder.proof.scope import COSTS, Act, Fate, Schedule, Scope
from inorder.proof.scope import Kind as Do
from inorder.proof.subject import FoldingOracle, Subject
from inorder.proof.tables import Setup
from inorder.proof.token import of_token
from inorder.proof.trace import Op, timeline

SECONDS = 20.0
"""Time that a proof takes at most, unless another is given. Smaller scopes are through long before."""
SHORTER_S = 5.0
"""Time that a search for a shorter counterexample takes at most, in each scope."""
MOST_RAISING = 8
"""Events for which a function may raise before it is given up on."""
LEAST_S = 0.5
"""Time that is kept for making a counterexample smaller."""

_NO_OUTCOMES = {Counter.RECEIVED, Counter.EARLY, Counter.RELEASED}
_SMALL = ((Scope(versions=2), 30), (Scope(versions=3), 20), (Scope(keys=2, versions=2), 6))
"""Without faults, over many payloads."""
_FAULTY = (
    Scope(versions=2, duplicates=1, crashes=1, refusals=1),
    Scope(versions=2, failures=1, replays=1, retries=1),
    Scope(versions=3, duplicates=1, crashes=1),
    Scope(versions=3, duplicates=1, zombies=1),
    Scope(versions=3, failures=1, replays=1),
    Scope(keys=2, versions=2, duplicates=1, crashes=1),
    Scope(versions=3, crashes=1, failures=1, replays=1),
    Scope(keys=2, versions=2, crashes=1, failures=1, replays=1),
    Scope(keys=2, versions=3, duplicates=1, crashes=1),
    Scope(keys=2, versions=3, duplicates=1, crashes=1, failures=1, replays=1, one_arrival=True),
    Scope(versions=3, duplicates=1, crashes=1, zombies=1),
    Scope(keys=2, versions=3, duplicates=1, crashes=1, zombies=1, failures=1, replays=1, one_arrival=True),
    Scope(keys=2, versions=3, duplicates=1, crashes=1, zombies=1, failures=1, replays=1),
)
"""With faults, over one case each."""

_WIDEST = (_FAULTY[-1], Scope(versions=3, duplicates=1, crashes=1, refusals=1, failures=1, retries=1, replays=1))
"""Where a counterexample of fewer actions is looked for."""


class Searched(msgspec.Struct, kw_only=True):
    """One scope, and how far it was searched."""

    scope: str
    payloads: int
    """Sets of payloads it was searched with."""
    states: int
    exhausted: bool
    seconds: float
    stopped: bool = False
    """Whether the search ended with an anomaly."""


class Proof(msgspec.Struct, kw_only=True):
    """What a proof came to. `verdict` is proved (in the scopes that were exhausted), disproved or unknown."""

    consumer: str
    order: str
    kind: str
    verdict: str
    oracle: str
    scopes: list[Searched]
    anomaly: Anomalous | None = None
    why_unknown: str | None = None
    covered: dict[str, int]
    """How often each outcome was seen with each fault: `fault, outcome`."""
    notes: list[str]
    not_proved: list[str]
    seconds: float


class Replayed(msgspec.Struct, kw_only=True):
    """What a schedule came to when it was played again."""

    consumer: str
    schedule: list[str]
    trace: list[str]
    finding: Finding | None


def prove_declared(
    consumer: Callable[..., Any],
    events: Iterable[bytes] | None = None,
    seconds: float = SECONDS,
    setup: Setup | None = None,
    drawn: Sequence[Values] | None = None,
) -> Proof:
    """Prove a decorated fold, or handler with `tx`. Raises `inorder.UsageError` when it cannot be tried at all.

    `events` are lines of JSON: events of the user's own, instead of generated ones. `setup` makes the tables of a
    handler with `tx`, given a `sqlite3.Connection`. `drawn` are payloads to use instead, but for their key, version
    and id.
    """
    declared = declaration_of(consumer)
    return Prover(Subject(declared, setup), Payloads(declared, events, drawn), seconds).run()


def replayed(consumer: Callable[..., Any], token: str, setup: Setup | None = None) -> Replayed:
    """Play the schedule of a token. Raises `inorder.UsageError` when it is none of the consumer's."""
    subject = Subject(declaration_of(consumer), setup)
    schedule, case = of_token(token, subject.declared)
    most = dict.fromkeys(("duplicates", *dict.fromkeys(COSTS.values()), "replays"), len(schedule))
    scope = msgspec.convert(most, Scope)
    world = subject.watched(case, scope)
    steps = play(world, schedule)
    return Replayed(
        consumer=subject.declared.name,
        schedule=told(schedule),
        trace=list(timeline(steps)),
        finding=world.findings[0] if world.findings else None,
    )


class Prover:
    """One proof."""

    def __init__(self, subject: Subject, payloads: Payloads, seconds: float) -> None:
        self._began = time.monotonic()
        self._seconds = seconds
        self.subject = subject
        self.payloads = payloads
        self.scopes: list[Searched] = []
        self._covered: Bag[tuple[str, str]] = Bag()
        self._notes: list[str] = []
        self._unknown: dict[str, str] = {}

    def run(self) -> Proof:
        """The whole proof."""
        unknown = self._useless()
        anomaly = None
        with quietly():
            found = None if unknown else self._impure() or self._search()
            if found is not None:
                anomaly = explain(self, *self._smallest(*found))
        if unknown is not None:
            pass
        elif anomaly is None and not any(one.exhausted for one in self.scopes):
            unknown = f"no scope was exhausted in {self._seconds:g} s: give more with --seconds"
        elif anomaly is None and self._unknown:
            unknown = "; ".join(f"{id}: {why}" for id, why in sorted(self._unknown.items()))
        declared = self.subject.declared
        return Proof(
            consumer=declared.name,
            order=str(declared.order),
            kind=str(declared.kind),
            verdict="disproved" if anomaly else "unknown" if unknown else "proved",
            oracle=_ORACLES[declared.kind],
            scopes=self.scopes,
            anomaly=anomaly,
            why_unknown=unknown,
            covered={f"{fault}, {outcome}": n for (fault, outcome), n in sorted(self._covered.items())},
            notes=self._notes,
            not_proved=self._not_proved(),
            seconds=time.monotonic() - self._began,
        )

    @property
    def left_s(self) -> float:
        """The time that is left."""
        return self._seconds - (time.monotonic() - self._began)

    # The function alone.

    def _useless(self) -> str | None:
        """Why nothing can be learnt: the function raises whatever it is given."""
        errors = [self.subject.raises(next(iter(case.values()))) for case in self.payloads.cases(1, 1, MOST_RAISING)]
        raised = [error for error in errors if error is not None]
        if len(raised) < len(errors):
            return None
        tables = "; give it tables with --tables or --store" if self.subject.declared.kind is Kind.TX else ""
        return (
            f"the function raises for each of the {len(errors)} events that were tried: {describe(raised[0])}{tables}"
        )

    def _impure(self) -> tuple[Schedule, Case, Scope, Finding | None, Seen | None] | None:
        """A schedule that shows that the function is not what it says, with what was seen of it."""
        case = next(iter(self.payloads.cases(1, 3, 1)))
        first = next(iter(case))
        reached = self._reaches(case)
        if reached is not None:
            schedule = (Act(Do.DELIVER, first, Fate.CRASH_BEFORE), Act(Do.AGAIN))
            return schedule, case, Scope(versions=1, crashes=1), None, reached
        if self.subject.declared.kind is Kind.TX:
            return None
        for tried in self.payloads.cases(1, 3, 4):
            found = self._twice(tried)
            if found is not None:
                return found
        return None

    def _reaches(self, case: Case) -> Seen | None:
        """What the function does outside of its result and its transaction, at its first event."""
        world = self.subject.watched(case, Scope(versions=1, crashes=1))
        steps = play(world, (Act(Do.DELIVER, next(iter(case)), Fate.CRASH_BEFORE), Act(Do.AGAIN)))
        called = next((step for step in reversed(steps) if step.op is Op.CALLED), None)
        return None if called is None else self.subject.seen(called.what or "", case)

    def _twice(self, case: Case) -> tuple[Schedule, Case, Scope, Finding | None, Seen | None] | None:
        """Call a fold again and again with equal arguments, along the history of a case."""
        subject, encode = self.subject, encoder(self.subject.declared.state)
        code = subject.declared.function.__code__
        oracle = subject.oracle(case)
        assert isinstance(oracle, FoldingOracle)
        acts: list[Act] = []
        effects: list[tuple[int, str]] = []
        for place, message in case.items():
            results: set[bytes] = set()
            reads: list[Seen] = []
            for _ in range(TIMES):
                state, payload = oracle.state(place[0], effects), subject.payload(message)
                with watching(code) as watch:
                    try:
                        results.add(encode(subject.call(state, payload)))
                    except Exception as error:
                        results.add(type(error).__name__.encode())
                reads += watch.reads
            if len(results) > 1:
                schedule = (*acts, Act(Do.DELIVER, place))
                values = " and ".join(sorted(result.decode() for result in results)[:2])
                what = f"equal arguments gave {values}"
                finding = Finding("S20", "non-confluent", what, 0)
                return schedule, case, Scope(versions=len(case)), finding, reads[0] if reads else None
            if reads:
                note = f"{reads[0].what} at {reads[0].file}:{reads[0].line}; no difference was seen"
                if note not in self._notes:
                    self._notes.append(note)
            acts.append(Act(Do.DELIVER, place))
            effects.append((message.version, message.id))
        return None

    # Every schedule.

    def _search(self) -> tuple[Schedule, Case, Scope, Finding | None, Seen | None] | None:
        tx = self.subject.declared.kind is Kind.TX
        for scope, most in _SMALL:
            found = self._over(scope, max(2, most // 5) if tx else most)
            if found is not None:
                return found
        for scope in _FAULTY:
            if self.left_s < LEAST_S:
                break
            found = self._over(scope, 1)
            if found is not None:
                return found
        return None

    def _over(self, scope: Scope, most: int) -> tuple[Schedule, Case, Scope, Finding | None, Seen | None] | None:
        """Search one scope, with several sets of payloads."""
        line = Searched(scope=str(scope), payloads=0, states=0, exhausted=True, seconds=0.0)
        self.scopes.append(line)
        for case in self.payloads.cases(scope.keys, scope.versions, most):
            if self.left_s < LEAST_S:
                line.exhausted = line.payloads > 0
                return None
            explored = self._explored(case, scope)
            self._add(line, explored)
            if explored.schedule is not None:
                return explored.schedule, case, scope, explored.finding, None
        return None

    def _explored(self, case: Case, scope: Scope) -> Explored:
        """Search one scope with one set of payloads: several keys of a fold side by side, all else as a whole."""
        if scope.keys > 1 and self.subject.declared.kind is Kind.FOLD:
            product = Product(case, scope, lambda part: self.subject.world(part, scope))
            found = product.explore(self.left_s)
            worlds = [lane.world for lane in product.lanes]
        else:
            worlds = [self.subject.world(case, scope)]
            found = explore(worlds[0], self.left_s)
        for world in worlds:
            self._unknown |= world.judge.unknown_here()
        return found

    def _add(self, line: Searched, explored: Explored) -> None:
        line.payloads += 1
        line.states += explored.states
        line.exhausted = line.exhausted and explored.exhausted
        line.seconds += explored.seconds
        line.stopped = explored.finding is not None
        self._covered.update(at for at in explored.covered if at[1] not in _NO_OUTCOMES)

    # A counterexample.

    def _smallest(
        self, schedule: Schedule, case: Case, scope: Scope, finding: Finding | None, seen: Seen | None
    ) -> tuple[Schedule, Case, Finding, Seen | None, int | None]:
        """The same anomaly by fewer actions and plainer payloads, and how many states were looked at for that."""
        looked: int | None = 0
        for wider in (scope, *_WIDEST):
            if seen is None and len(schedule) > 1:
                shorter = explore(self.subject.world(_within(case, wider), wider), SHORTER_S, len(schedule) - 1)
                looked = None if looked is None or not shorter.exhausted else looked + shorter.states
                if shorter.schedule is not None:
                    schedule, finding, scope, looked = shorter.schedule, shorter.finding, wider, looked or 0
        used = {act.place for act in schedule}
        case = {place: message for place, message in case.items() if place in used}
        shown = self.played(schedule, case, scope, seen is not None)
        for place, message in case.items():
            for plainer in self.payloads.simpler(message):
                tried = {**case, place: plainer}
                found = self.played(schedule, tried, scope, seen is not None)
                if found is not None and shown is not None and found.anomaly == shown.anomaly:
                    case, shown = tried, found
                    break
        final = shown or finding or Finding("S20", "non-confluent", seen.what if seen else "", 0)
        return schedule, case, self._named(final, schedule), seen, looked

    def _named(self, finding: Finding, schedule: Schedule) -> Finding:
        """An anomaly of inorder's own parts, seen of a consumer, as what it says of the consumer.

        A state that its ledger does not make is one that the same events do not make twice. And where each key's
        events came once and in order, what is wrong comes of one key meeting another.
        """
        if finding.anomaly == "S11":
            return Finding("S20", ANOMALIES["S20"].name, finding.why.replace("its ledger makes", "its events make"), 0)
        came = [act.place for act in schedule if act.place is not None and act.kind is Do.DELIVER]
        plain = all(act.fate is Fate.DONE and act.kind is Do.DELIVER for act in schedule)
        of = [[version for key, version in came if key == one] for one in dict(came)]
        in_order = all(versions == sorted(set(versions)) for versions in of)
        if finding.anomaly != "S20" or not plain or not in_order or len(of) == 1:
            return finding
        why = f"what is stored hangs on which key's event came first: {finding.why}"
        return Finding("S19", ANOMALIES["S19"].name, why, finding.at)

    def played(self, schedule: Schedule, case: Case, scope: Scope, watched: bool = False) -> Finding | None:
        """What a schedule comes to, on a world of its own."""
        world = self.subject.watched(case, scope) if watched else self.subject.world(case, scope)
        play(world, schedule)
        return world.findings[0] if world.findings else None

    def passes_with(self, order: Order, case: Case) -> bool:
        """Whether the same function, declared with another order, shows nothing in the small scopes."""
        other = self.subject.with_order(order)
        keys = len({key for key, _ in case})
        versions = max((sum(key == one for key, _ in case) for one, _ in case), default=1)
        for scope in (Scope(keys=keys, versions=versions), Scope(versions=3, duplicates=1, crashes=1)):
            given = case if scope.versions == versions else next(iter(self.payloads.cases(scope.keys, 3, 1)))
            if explore(other.world(given, scope), SHORTER_S).finding is not None:
                return False
        return True

    def _not_proved(self) -> list[str]:
        declared = self.subject.declared
        found = ["more keys, versions and faults than the scopes above, and payloads other than those tried"]
        found += [
            f"the scope {one.scope}, which was not exhausted"
            for one in self.scopes
            if not one.exhausted and not one.stopped
        ]
        if declared.kind is Kind.TX:
            found.append("statements as PostgreSQL runs them: they ran on SQLite")
        found.append("time: how long the function takes, and that it ends")
        found.append("S10 (a worker runs one event of a key at a time) and S22 (the rate of replays): of inorder's own")
        return found


def _within(case: Case, scope: Scope) -> Case:
    """As much of a case as a scope has room for."""
    keys = list(dict.fromkeys(key for key, _ in case))[: scope.keys]
    return {place: message for place, message in case.items() if place[0] in keys}


_ORACLES = {
    Kind.FOLD: "the state of each key = its events folded once each, in version order",
    Kind.TX: "the user's tables = the events of each key handled once each, in version order",
}
