"""Anomalies of dead letters: passed by, lost, doubled, replayed twice, out of order, or too fast."""

from __future__ import annotations

from bisect import bisect_right

from inorder.core.order import Order
from inorder.proof.anomalies.anomaly import Oracle, anomaly, given_up, shown
from inorder.proof.history import History
from inorder.proof.trace import Op, Step, Via

RATE_WINDOW_S = 1.0


@anomaly("S12", "letter-bypass", Op.APPLIED, needs=(Op.LETTER, Op.RESOLVED))
def letter_bypass(history: History, step: Step, _: Oracle | None) -> str | None:
    """An event took effect past an earlier one of its key that was given up on and that nobody has dealt with."""
    assert step.version is not None
    if not history.rules.parks or step.key is None or not history.failed.get(step.key):
        return None
    open_versions = given_up(history, step.key)
    passed = sorted(one for one in open_versions if one < step.version and not _by_another(history, step.key, one))
    if not passed or (step.via is Via.REPLAY and step.version in open_versions and history.rules.order != Order.STRICT):
        return None
    return f"{step.key} v{step.version} took effect while v{passed[0]} is a dead letter"


def _by_another(history: History, key: str, version: int) -> bool:
    """Whether a version that is a letter took effect by another event that claimed it."""
    names = {letter.id for letter in history.letters.values() if (letter.key, letter.version) == (key, version)}
    return any(effect.id not in names for effect in history.times(key, version))


@anomaly("S13", "letter-loss", Op.LETTER, Op.RESOLVED, Op.REST, needs=(Op.LETTER, Op.RESOLVED, Op.FOUND, Op.APPLIED))
def letter_loss(history: History, step: Step, _: Oracle | None) -> str | None:
    """A dead letter is there twice, is gone, or was closed although its event neither took effect nor was skipped."""
    if step.op is Op.LETTER:
        # What failed in a parked key is not tried again. Any other letter may come again, and is added to.
        again = (step.partition, step.offset) in history.letters and step.reason == "failed" and history.rules.parks
        return f"{step.partition}@{step.offset} is an open letter twice" if again else None
    if step.op is Op.RESOLVED:
        return None
    found = sorted((one.partition or "", one.offset or 0) for one in history.found if one.what == "letter")
    kept = sorted((partition or "", offset or 0) for partition, offset in history.letters)
    if found != kept:
        place = min(place for place in {*found, *kept} if found.count(place) != kept.count(place))
        return f"the letter of {place[0]}@{place[1]} is there {found.count(place)} times, not {kept.count(place)}"
    closed = history.lettered - history.letters.keys()
    lost = {
        (name[0], name[1])
        for name in (history.accepted.get(position, (None, None, None)) for position in closed)
        if name[0] is not None and name[1] is not None
        if not history.superfluous(name) and not history.times(name[0], name[1])
    }
    return f"closed without effect: {shown(lost)}" if lost else None


@anomaly("S14", "replay-double", Op.APPLIED)
def replay_double(history: History, step: Step, _: Oracle | None) -> str | None:
    """A replay put an event through that took effect otherwise as well."""
    assert step.version is not None
    before = history.times(step.key, step.version)
    if not before or not {Via.REPLAY, Via.DRAIN} & {step.via, *(effect.via for effect in before)}:
        return None
    return f"{step.key} v{step.version} took effect by {before[-1].via} and by {step.via}"


@anomaly("S15", "replay-reorder", Op.APPLIED)
def replay_reorder(history: History, step: Step, _: Oracle | None) -> str | None:
    """A replay put events of one key through in another order than their versions'."""
    assert step.version is not None
    if step.via not in {Via.REPLAY, Via.DRAIN} or history.rules.order is Order.COMMUTATIVE:
        return None
    top = history.top.get(step.key or "", history.rules.baseline)
    if step.version < top:
        return f"the replay put {step.key} v{step.version} through after v{top}"
    missing = history.run_end(step.key) + 1
    if history.rules.order is Order.STRICT and step.version > missing:
        return f"the replay put {step.key} v{step.version} through without v{missing}"
    return None


@anomaly("S22", "replay-rate", Op.APPLIED)
def replay_rate(history: History, step: Step, _: Oracle | None) -> str | None:
    """A replay put more letters through in a second than it was allowed to."""
    rate = history.rules.replay_per_s
    if rate is None or step.via is not Via.REPLAY:
        return None
    recent = len(history.replayed_at) - bisect_right(history.replayed_at, step.at - RATE_WINDOW_S) + 1
    return f"{recent} letters in a second, {rate:g} are allowed" if recent > max(rate, 1) else None
