"""Anomalies of keeping: what was lost, settled too soon, or waits for ever."""

from __future__ import annotations

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
        and not _is_letter(history, name)
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
        before = (effect.version == found.version - 1 for effect in history.effects(found.key))
        skipped = (found.key, found.version - 1) in history.skipped
        if any(before) or skipped or found.version == history.rules.baseline + 1:
            return f"{found.key} v{found.version} waits although v{found.version - 1} is done"
        if step.at - found.at > history.rules.gap_s:
            return f"{found.key} v{found.version} waits for {step.at - found.at:g} s, and its key is not parked"
    return None


@anomaly("S7", "settled-before-effect", Op.COMMITTED, Op.DELETED, needs=(Op.ACCEPTED, Op.APPLIED, Op.HELD, Op.LETTER))
def settled_before_effect(history: History, step: Step, _: Oracle | None) -> str | None:
    """A record was settled at the broker before the store knew what became of it."""
    assert step.offset is not None
    for (partition, offset), name in history.accepted.items():
        if partition != step.partition or offset is None:
            continue
        below = offset < step.offset if step.op is Op.COMMITTED else offset == step.offset
        if below and not history.durable(name, (partition, offset)):
            return f"{partition}@{offset} ({name[0]} v{name[1]}) was settled before its outcome was stored"
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
    done = {effect.version for effect in history.effects(key)}
    top = history.rules.baseline
    while top + 1 in done or (key, top + 1) in history.skipped:
        top += 1
    return bool(given_up(history, key)) or top + 1 not in history.claimed.get(key, {})


def _in_effect(history: History, name: Name) -> bool:
    return any((effect.version, effect.id) == name[1:] for effect in history.effects(name[0]))


def _is_letter(history: History, name: Name) -> bool:
    return any(history.accepted.get(position) == name for position in history.lettered)


def _accounted(history: History, name: Name) -> bool:
    key, version, event_id = name
    if key is None or version is None:
        return False
    held = history.held.get((key, version))
    waits = held is not None and held.id == event_id
    return waits or _in_effect(history, name) or _is_letter(history, name) or history.superfluous(name)
