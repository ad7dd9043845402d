"""What must hold after every commit, and what must hold once nothing fails and nothing is on its way any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inorder.core.changes import Changes
from inorder.core.event import Event
from inorder.core.order import Order, Outcome
from inorder.core.rows import Counter, Reason
from inorder.core.waiting import AT_ONCE, NEVER, Wait, Waiting
from tests.core.case import GAP_S

if TYPE_CHECKING:
    from tests.core.world import World

Ledger = list[tuple[int, str]]
COUNTED_AS = {Reason.FAILED: Outcome.DEAD_LETTERED, Reason.CONFLICT: Outcome.CONFLICT, Reason.LATE: Outcome.LATE}


class Violation(AssertionError):
    """Something that must hold did not."""


def require(holds: bool, claim: str) -> None:
    """Raise `Violation` unless the claim holds."""
    if not holds:
        raise Violation(claim)


def check(world: World, before: dict[str, Ledger]) -> None:
    """Everything that must hold after a commit. `before`: what had taken effect before it."""
    for key in world.case.keys:
        ledger = world.store.ledger(key)
        require(ledger[: len(before[key])] == before[key], f"{key}: effects of before were lost")
        _nothing_twice_and_in_order(world, key, ledger)
        _nothing_past_a_parked_version(world, key, ledger)
        _waiting_as_it_should(world, key)
    _nothing_lost(world)
    _counts_add_up(world)
    _memory_is_what_is_stored(world)
    _somebody_watches_what_is_due(world)


def check_at_rest(world: World) -> None:
    """Once all versions came and failures stopped: all that was not given up on took effect, and nothing waits."""
    case, store = world.case, world.store
    for key in case.keys:
        given_up = set(_given_up(world, key))
        if given_up and case.parks:
            continue
        versions = [version for version, _ in store.ledger(key)]
        came = {arrival.version for arrival in case.log if arrival.key == key and arrival.version > case.baseline}
        wanted = came - given_up - _skipped(world, key)
        if case.order is Order.LATEST:
            require(not wanted or versions[-1] >= max(wanted), f"{key}: {max(wanted, default=0)} did not win")
        else:
            require(wanted <= set(versions), f"{key}: {versions} of {wanted} took effect")
        require(key not in store.waits, f"{key}: still waits")


def _given_up(world: World, key: str) -> list[int]:
    """The versions that were given up on, and that no operator has dealt with."""
    letters = [letter for _, letter in world.store.open.values() if letter.key == key]
    return [letter.version for letter in letters if letter.version and letter.reason is Reason.FAILED]


def _skipped(world: World, key: str) -> set[int]:
    return {version for of, version in world.skipped if of == key}


def _nothing_twice_and_in_order(world: World, key: str, ledger: Ledger) -> None:
    versions, skipped = [version for version, _ in ledger], _skipped(world, key)
    require(len(set(versions)) == len(versions), f"{key}: applied twice: {versions}")
    require(not skipped & set(versions), f"{key}: applied although skipped: {versions}")
    baseline = world.case.baseline
    require(all(version > baseline for version in versions), f"{key}: applied below the baseline")
    if world.case.order is not Order.COMMUTATIVE:
        require(versions == sorted(versions), f"{key}: an older version after a newer one: {versions}")
    if world.case.order is Order.STRICT:
        done = sorted([*versions, *skipped])
        require(done == list(range(baseline + 1, baseline + 1 + len(done))), f"{key}: past a gap: {versions}")


def _nothing_past_a_parked_version(world: World, key: str, ledger: Ledger) -> None:
    """A key that was parked with an event given up on changes no more until an operator has dealt with it."""
    given_up = _given_up(world, key)
    if not given_up or not world.case.parks:
        return
    waiting = world.store.waits.get(key)
    require(waiting is not None and waiting.why is Wait.PARKED, f"{key}: goes on past {given_up}")
    require(len(given_up) == 1, f"{key}: tried on after the first was given up on: {given_up}")
    require(ledger == world.when_parked.setdefault(key, ledger), f"{key}: changed although it is parked: {ledger}")
    if world.case.order is not Order.COMMUTATIVE:
        require(all(version < given_up[0] for version, _ in ledger), f"{key}: {ledger} past {given_up}")


def _waiting_as_it_should(world: World, key: str) -> None:
    """The waits row, the row's flag and the held rows agree, and what waits is yet to come."""
    row, waiting = world.store.entities.get(key), world.store.waits.get(key)
    require((row is not None and row.waits) == (waiting is not None), f"{key}: the flag and the waits row disagree")
    held = {version for of, version in world.store.held if of == key}
    if waiting is None:
        require(not held, f"{key}: {held} wait for nothing")
        return
    assert row is not None
    strict = world.case.order is Order.STRICT
    following = row.version + 1
    if strict:
        # The last version itself may have been delivered again while it was a letter.
        require(all(version >= row.version for version in held), f"{key}: {held} wait although {row.version} is done")
    if waiting.why is Wait.REPLAY:
        require(
            bool(held) and waiting.due_at < NEVER, f"{key}: stopped for a replay of nothing, or for ever: {waiting}"
        )
    elif waiting.why is Wait.RETRY:
        require(waiting.version in held and waiting.due_at < NEVER, f"{key}: nothing to retry: {waiting}")
        require(not strict or waiting.version == following, f"{key}: retries {waiting.version}, not {following}")
    elif waiting.why is Wait.GAP:
        _gap(waiting, held, row.version, strict, key)
    elif waiting.missing:
        require(bool(held) and strict and waiting.version == following not in held, f"{key}: nothing is missing")


def _gap(waiting: Waiting, held: set[int], last: int, strict: bool, key: str) -> None:
    require(bool(held), f"{key}: nothing waits for {waiting}")
    if strict and not held & {last, last + 1}:
        require(waiting.version == last + 1, f"{key}: waits for {waiting.version}, and {last + 1} is missing")
        require(waiting.due_at == waiting.since + GAP_S, f"{key}: no limit on the gap: {waiting}")
    else:
        require(waiting.due_at == AT_ONCE, f"{key}: {held} could go on after {last}, and nobody looks: {waiting}")


def _nothing_lost(world: World) -> None:
    """Every delivery is in effect, waits, is a dead letter, or is covered by one of the same version that is."""
    store, order = world.store, world.case.order
    found: dict[tuple[str, int], set[str]] = {}
    for key in world.case.keys:
        for version, name in store.ledger(key):
            found.setdefault((key, version), set()).add(name)
    for place, row in store.held.items():
        found.setdefault(place, set()).add(row.event_id)
    for letter in store.letters:
        assert letter.key is not None
        assert letter.version is not None
        assert letter.event_id is not None
        found.setdefault((letter.key, letter.version), set()).add(letter.event_id)
    for _, event in world.deliveries:
        stale = event.version <= world.case.baseline or (
            order is Order.LATEST and event.version < store.entities[event.key].version
        )
        place = event.key, event.version
        require(stale or event.id in found.get(place, set()), f"{place} {event.id}: lost")


def _counts_add_up(world: World) -> None:
    store = world.store
    for tally in range(len(world.workers)):
        received = sum(receiver == tally for receiver, _ in world.deliveries)
        require(store.counts[tally, Counter.RECEIVED] == received, f"received {store.counts}, not {received}")
        outcomes = {name: store.counts[tally, name] for name in (*Outcome, Counter.REPLAYED)}
        require(sum(outcomes.values()) == received, f"{received} received, {outcomes}")
        require(min(outcomes.values()) >= 0, f"{outcomes}")
        for waits_as in (Outcome.HELD, Outcome.PARKED):
            rows = [row for row in store.held.values() if row.receiver == tally and row.outcome is waits_as]
            require(outcomes[waits_as] == len(rows), f"{len(rows)} rows {waits_as}, {outcomes}")
    total = {name: sum(n for (_, of), n in store.counts.items() if of == name) for name in (*Outcome, Counter.REPLAYED)}
    applied = sum(len(store.ledger(key)) for key in world.case.keys)
    require(total[Outcome.APPLIED] + total[Counter.REPLAYED] == applied, f"{applied} applied, {total}")
    for reason, outcome in COUNTED_AS.items():
        letters = sum(letter.reason is reason for letter in store.letters) - world.operator.resolved[reason]
        require(letters == total[outcome], f"{letters} letters {reason}, {total}")


def _memory_is_what_is_stored(world: World) -> None:
    """A worker that knows the newest revision of an entity knows all of it."""
    for worker in world.workers:
        for key, kept in worker.cache.items():
            stored = world.store.load(key)
            if stored is None or kept.revision != stored.revision:
                continue
            world.effect.loaded(stored)
            for name in ("version", "ranges", "recent", "waiting", "held"):
                mine, theirs = getattr(kept, name), getattr(stored, name)
                require(mine == theirs, f"{key}: {name} in memory is {mine}, in the store {theirs}")
            require([tuple(one) for one in kept.state] == [tuple(one) for one in stored.state], f"{key}: state differs")


def check_witnessed(changes: Changes, witnessed: list[tuple[Event, Outcome]]) -> None:
    """Every decision is told of once."""
    for outcome in Outcome:
        seen = sum(found is outcome for _, found in witnessed)
        gained = sum(n for (_, name), n in changes.counts.items() if name == outcome)
        if outcome not in {Outcome.HELD, Outcome.PARKED}:
            require(seen == gained, f"{outcome}: witnessed {seen} times, counted {gained} times")


def _somebody_watches_what_is_due(world: World) -> None:
    parked = Wait.PARKED
    first = min((waiting.due_at for waiting in world.store.waits.values() if waiting.why is not parked), default=NEVER)
    watched = min(worker.timers.next() for worker in world.workers)
    require(watched <= first, f"something is due at {first}, and nobody looks before {watched}")
