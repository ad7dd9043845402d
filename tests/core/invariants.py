"""What must hold after every commit, and what must hold once nothing fails and nothing is on its way any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inorder.core.changes import Changes, Counter, Reason
from inorder.core.entity import AT_ONCE, NEVER, Wait, Waiting
from inorder.core.event import Event
from inorder.core.order import Order, Outcome
from tests.core.case import GAP_S

if TYPE_CHECKING:
    from tests.core.world import World

Ledger = list[tuple[int, str]]


class Violation(AssertionError):
    """Something that must hold did not."""


def require(holds: bool, claim: str) -> None:
    """Raise `Violation` unless the claim holds."""
    if not holds:
        raise Violation(claim)


def check(world: World, before: dict[str, Ledger], changes: Changes, witnessed: list[tuple[Event, Outcome]]) -> None:
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
    _each_decision_is_witnessed_once(changes, witnessed)
    _somebody_watches_what_is_due(world)


def check_at_rest(world: World) -> None:
    """Once all versions came and failures stopped: all that was not given up on took effect, and nothing waits."""
    case, store = world.case, world.store
    for key in case.keys:
        given_up = set(_given_up(world, key))
        if given_up and case.parks:
            waiting = store.waits.get(key)
            require(waiting is not None and waiting.why is Wait.PARKED, f"{key}: not parked")
            continue
        versions = [version for version, _ in store.ledger(key)]
        wanted = {arrival.version for arrival in case.log if arrival.key == key and arrival.version > case.baseline}
        if case.order is Order.LATEST:
            won = not wanted or bool(given_up) or versions[-1] == max(wanted)
            require(won, f"{key}: the latest version did not win")
        else:
            require(set(versions) | given_up == wanted | given_up, f"{key}: {versions} of {wanted} took effect")
        require(key not in store.waits, f"{key}: still waits")


def _given_up(world: World, key: str) -> list[int]:
    letters = [letter for letter in world.store.letters if letter.key == key and letter.reason is Reason.FAILED]
    return [letter.version for letter in letters if letter.version is not None]


def _nothing_twice_and_in_order(world: World, key: str, ledger: Ledger) -> None:
    versions = [version for version, _ in ledger]
    require(len(set(versions)) == len(versions), f"{key}: applied twice: {versions}")
    baseline = world.case.baseline
    require(all(version > baseline for version in versions), f"{key}: applied below the baseline")
    if world.case.order is Order.STRICT:
        require(versions == list(range(baseline + 1, baseline + 1 + len(versions))), f"{key}: not dense: {versions}")
    if world.case.order is Order.LATEST:
        require(versions == sorted(versions), f"{key}: an older version after a newer one: {versions}")


def _nothing_past_a_parked_version(world: World, key: str, ledger: Ledger) -> None:
    """No operator acts here, so a key that was parked with an event given up on never changes again."""
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
        require(all(version > row.version for version in held), f"{key}: {held} wait although {row.version} is done")
    if waiting.why is Wait.RETRY:
        require(waiting.version in held and waiting.due_at < NEVER, f"{key}: nothing to retry: {waiting}")
        require(not strict or waiting.version == following, f"{key}: retries {waiting.version}, not {following}")
    elif waiting.why is Wait.GAP:
        _gap(waiting, held, following, strict, key)
    elif waiting.missing:
        require(bool(held) and strict and waiting.version == following not in held, f"{key}: nothing is missing")


def _gap(waiting: Waiting, held: set[int], following: int, strict: bool, key: str) -> None:
    require(bool(held), f"{key}: nothing waits for {waiting}")
    if strict and following not in held:
        require(waiting.version == following, f"{key}: waits for {waiting.version}, and {following} is missing")
        require(waiting.due_at == waiting.since + GAP_S, f"{key}: no limit on the gap: {waiting}")
    else:
        require(waiting.due_at == AT_ONCE, f"{key}: {held} could go on, and nobody looks: {waiting}")


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
        outcomes = {outcome: store.counts[tally, outcome] for outcome in Outcome}
        require(sum(outcomes.values()) == received, f"{received} received, {outcomes}")
        for waits_as in (Outcome.HELD, Outcome.PARKED):
            rows = [row for row in store.held.values() if row.receiver == tally and row.outcome is waits_as]
            require(outcomes[waits_as] == len(rows), f"{len(rows)} rows {waits_as}, {outcomes}")
    total = {outcome: sum(store.counts[tally, outcome] for tally in range(2)) for outcome in Outcome}
    applied = sum(len(store.ledger(key)) for key in world.case.keys)
    require(total[Outcome.APPLIED] == applied, f"{applied} applied, {total}")
    letters = {reason: sum(letter.reason is reason for letter in store.letters) for reason in Reason}
    require(letters[Reason.FAILED] == total[Outcome.DEAD_LETTERED], f"{letters}, {total}")
    require(letters[Reason.CONFLICT] == total[Outcome.CONFLICT], f"{letters}, {total}")


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


def _each_decision_is_witnessed_once(changes: Changes, witnessed: list[tuple[Event, Outcome]]) -> None:
    for outcome in Outcome:
        seen = sum(found is outcome for _, found in witnessed)
        gained = sum(n for (_, name), n in changes.counts.items() if name == outcome)
        if outcome not in {Outcome.HELD, Outcome.PARKED}:
            require(seen == gained, f"{outcome}: witnessed {seen} times, counted {gained} times")


def _somebody_watches_what_is_due(world: World) -> None:
    first = min((waiting.due_at for waiting in world.store.waits.values()), default=NEVER)
    watched = min(worker.timers.next() for worker in world.workers)
    require(watched <= first, f"something is due at {first}, and nobody looks before {watched}")
