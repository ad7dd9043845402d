"""Anomalies of effects: what took effect twice, too early, too late, half, elsewhere, or otherwise than it should."""

from __future__ import annotations

from inorder.core.order import Order
from inorder.proof.anomalies.anomaly import Oracle, anomaly, wanted
from inorder.proof.history import History
from inorder.proof.trace import Op, Step


@anomaly("S1", "double-apply", Op.APPLIED)
def double_apply(history: History, step: Step, _: Oracle | None) -> str | None:
    """An event took effect twice, or two events of one version did."""
    assert step.version is not None
    before = history.times(step.key, step.version)
    return f"{step.key} v{step.version} took effect as {before[-1].id} and again as {step.id}" if before else None


@anomaly("S2", "stale-apply", Op.APPLIED)
def stale_apply(history: History, step: Step, _: Oracle | None) -> str | None:
    """An older event took effect after a newer one."""
    assert step.version is not None
    top = history.top.get(step.key or "", history.rules.baseline)
    if history.rules.order is Order.COMMUTATIVE or step.version >= top:
        return None
    if history.times(step.key, step.version):
        return None
    return f"{step.key} v{step.version} took effect after v{top}"


@anomaly("S3", "gap-apply", Op.APPLIED, needs=(Op.SKIPPED,))
def gap_apply(history: History, step: Step, _: Oracle | None) -> str | None:
    """Under strict order, an event took effect although one before it had not."""
    assert step.version is not None
    if history.rules.order is not Order.STRICT:
        return None
    missing = history.run_end(step.key) + 1
    return f"{step.key} v{step.version} took effect without v{missing}" if step.version > missing else None


@anomaly("S11", "torn-effect", Op.STATE, Op.FOUND, needs=(Op.APPLIED,), asks_oracle=True)
def torn_effect(history: History, step: Step, oracle: Oracle | None) -> str | None:
    """A state is not what the effects in its ledger make of it: one was committed without the other."""
    assert oracle is not None
    if step.op is Op.FOUND and (step.what != "state" or step.key is None):
        return None
    made = oracle.state_after(step.key or "", [(effect.version, effect.id) for effect in history.effects(step.key)])
    return None if made == step.state else f"the state of {step.key} is {step.state}; its ledger makes {made}"


@anomaly("S17", "dedup-expiry", Op.APPLIED)
def dedup_expiry(history: History, step: Step, _: Oracle | None) -> str | None:
    """A duplicate came so late that it was not known any more, and took effect again."""
    assert step.version is not None
    effects, rules = history.effects(step.key), history.rules
    before = history.times(step.key, step.version)
    if not before:
        return None
    since = len(effects) - before[0].nth
    late_s = step.at - before[0].at
    if since <= rules.remembered and late_s <= rules.remembered_s:
        return None
    return f"{step.key} v{step.version} took effect again {since} effects and {late_s:g} s later"


@anomaly("S18", "effect-escape", Op.CALLED, Op.REST, needs=(Op.CALLED, Op.APPLIED))
def effect_escape(history: History, step: Step, _: Oracle | None) -> str | None:
    """An effect took place outside of the transaction, so it may be there without its event, or more than once.

    Of calls, which are at least once by declaration, one an event must have been made and none without its event.
    """
    if step.op is Op.CALLED:
        if history.rules.calls or not history.called.get(step.id or ""):
            return None
        return f"the effect {step.id} took place outside of the transaction, {history.called[step.id or ''] + 1} times"
    applied = {effect.id for effects in history.ledger.values() for effect in effects}
    given_up = {letter.id for letter in history.letters.values()}
    waiting = {held.id for held in history.held.values()}
    without = sorted(history.called.keys() - applied - given_up - waiting)
    if without:
        return f"the effect {without[0]} took place, and its event did not"
    uncalled = sorted(applied - history.called.keys()) if history.rules.calls else []
    return f"{uncalled[0]} is recorded as done, and was never called" if uncalled else None


@anomaly("S19", "cross-key-leak", Op.STATE, needs=(Op.APPLIED,))
def cross_key_leak(history: History, step: Step, _: Oracle | None) -> str | None:
    """The state of a key changed in a transaction in which no event of that key took effect."""
    effects = history.effects(step.key)
    if step.state == history.states.get(step.key or "") or (effects and effects[-1].tx == step.tx):
        return None
    others = sorted(key for key, effects in history.ledger.items() if any(effect.tx == step.tx for effect in effects))
    what = f"an event of {others[0]}" if others else "no event at all"
    return f"the state of {step.key} was changed by {what}"


@anomaly("S20", "non-confluent", Op.REST, needs=(Op.FOUND, Op.ACCEPTED, Op.APPLIED), asks_oracle=True)
def non_confluent(history: History, step: Step, oracle: Oracle | None) -> str | None:
    """At rest, a state is not what the events make of it when each comes once, in order."""
    assert oracle is not None
    states = {found.key: found.state for found in history.found if found.what == "state"}
    if None in states:
        every = [effect for key in sorted(history.claimed) for effect in wanted(history, key)]
        right = oracle.state_after("", every)
        return None if states[None] == right else f"the tables are {states[None]}; in order, each event once: {right}"
    for key in sorted(history.claimed.keys() | {key for key in states if key is not None}):
        right = oracle.state_after(key, wanted(history, key))
        if states.get(key) != right:
            return f"the state of {key} is {states.get(key)}; in order, each event once, it is {right}"
    return None
