"""Anomalies of keeping: what was lost, settled too soon, or waits for ever."""

from __future__ import annotations

from itertools import takewhile

from inorder.proof.anomalies.anomaly import Oracle, anomaly, given_up, shown
from inorder.proof.history import History, Name
from inorder.proof.trace import Op, Step


@anomaly("S4", "lost-event", Op.REST, needs=(Op.ACCEPTED, Op.APPLIED, Op.LETTER, Op.SKIPPED, Op.HELD))
def lost_event(history: History, step: Step, _: Oracle | None) -> str | None:
    """An event that the broker kept is neither in effect, nor a letter, nor waiting, nor declared superfluous."""
    lost = {
        (name[0] or "", name[1] or 0)
        for position, name in history.accepted.items()
        if not _accounted(history, name) and position not in history.lettered
    }
    return f"lost: {shown(lost)}" if lost else None


@anomaly("S5", "lost-early", Op.REST, needs=(Op.HELD, Op.RELEASED, Op.FOUND, Op.APPLIED, Op.LETTER))
def lost_early(history: History, step: Step, _: Oracle | None) -> str | None:
    """An event that was held for later is gone without having taken effect."""
    kept = {(found.key, found.version) for found in history.found if found.what == "held"}
    lost = {
        (name[0] or "", name[1] or 0)
        for name in history.waited
        if (name[0], name[1]) not in kept
        and not _in_effect(history, name)
        and name not in history.lettered_names
        and not history.superfluous(name)
    }
    return f"held, and gone: {shown(lost)}" if lost else None


@anomaly("S6", "gap-leak", Op.REST, needs=(Op.FOUND, Op.APPLIED))
def gap_leak(history: History, step: Step, _: Oracle | None) -> str | None:
    """An event still waits although what it waits for is there, or longer than a gap may last with nobody told."""
    waiting = {found.key: found for found in history.found if found.what == "waiting"}
    for found in history.found:
        if found.what != "held" or found.key is None or found.version is None:
            continue
        why = waiting.get(found.key)
        if why is not None and why.reason == "parked":
            continue
        skipped = (found.key, found.version - 1) in history.skipped
        first = found.version == history.rules.baseline + 1
        if history.times(found.key, found.version - 1) or skipped or first:
            return f"{found.key} v{found.version} waits although v{found.version - 1} is done"
        if step.at - found.at > history.rules.gap_s:
            return f"{found.key} v{found.version} waits for {step.at - found.at:g} s, and its key is not parked"
    return None


@anomaly("S7", "settled-before-effect", Op.COMMITTED, Op.DELETED, needs=(Op.ACCEPTED, Op.APPLIED, Op.HELD, Op.LETTER))
def settled_before_effect(history: History, step: Step, _: Oracle | None) -> str | None:
    """A record was settled at the broker before the store knew what became of it."""
    assert step.offset is not None
    if step.op is Op.DELETED:
        asked = [step.offset]
    else:
        known = history.offsets.get(step.partition, [])[history.settled.get(step.partition, 0) :]
        below = step.offset
        asked = list(takewhile(lambda offset: offset < below, known))
    for offset in asked:
        name = history.accepted.get((step.partition, offset), (None, None, None))
        if not history.durable(name, (step.partition, offset)):
            return f"{step.partition}@{offset} ({name[0]} v{name[1]}) was settled before its outcome was stored"
    return None


@anomaly("S8", "frontier-regress", Op.COMMITTED)
def frontier_regress(history: History, step: Step, _: Oracle | None) -> str | None:
    """The committed offset of a partition went back under one owner."""
    before = history.committed.get((step.partition, step.epoch), 0)
    if step.offset is None or step.offset >= before:
        return None
    return f"{step.partition} was committed up to {before} and then only to {step.offset} under epoch {step.epoch}"


@anomaly("S16", "stranded-behind-poison", Op.REST, needs=(Op.FOUND, Op.LETTER, Op.HELD))
def stranded_behind_poison(history: History, step: Step, _: Oracle | None) -> str | None:
    """An event failed while what waited was drained, and the rest still waits without its key being parked."""
    parked = {found.key for found in history.found if found.what == "waiting" and found.reason == "parked"}
    failed = {
        letter.key
        for letter in history.letters.values()
        if (letter.key, letter.version, letter.id) in history.waited and letter.reason == "failed"
    }
    stranded = {
        (found.key or "", found.version or 0)
        for found in history.found
        if found.what == "held" and found.key in failed and found.key not in parked
    }
    return f"stranded: {shown(stranded)}" if stranded else None


@anomaly("S21", "stuck", Op.REST, needs=(Op.FOUND,))
def stuck(history: History, step: Step, _: Oracle | None) -> str | None:
    """All faults are over and nothing happens any more, and yet something is not done."""
    parked = {found.key for found in history.found if found.what == "waiting" and found.reason == "parked"}
    for found in history.found:
        if found.what == "lag" and found.offset:
            return f"{found.offset} records of {found.partition} are not settled"
        if found.what == "held" and found.key not in parked:
            return f"{found.key} v{found.version} still waits"
    without = sorted(key for key in parked if key is not None and not _may_be_parked(history, key))
    return f"{without[0]} is parked, and nothing of it failed or is missing" if without else None


def _may_be_parked(history: History, key: str) -> bool:
    return bool(given_up(history, key)) or history.run_end(key) + 1 not in history.claimed.get(key, [])


def _in_effect(history: History, name: Name) -> bool:
    return name[1] is not None and any(effect.id == name[2] for effect in history.times(name[0], name[1]))


def _accounted(history: History, name: Name) -> bool:
    key, version, event_id = name
    if key is None or version is None:
        return False
    held = history.held.get((key, version))
    waits = held is not None and held.id == event_id
    return waits or _in_effect(history, name) or name in history.lettered_names or history.superfluous(name)
