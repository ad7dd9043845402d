"""Tells of a counterexample: the schedule, where it comes from, what would pass, and how to keep it as a test."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from inorder.core.order import Order
from inorder.declaration import Kind
from inorder.proof.anomalies import ANOMALIES
from inorder.proof.blame import Line, blamed, line, traced
from inorder.proof.oracle import Finding
from inorder.proof.payloads import Case
from inorder.proof.purity import Seen
from inorder.proof.scope import Fate, Schedule
from inorder.proof.scope import Kind as Do
from inorder.proof.system import Message
from inorder.proof.tables import TablesStore
from inorder.proof.token import token_of

if TYPE_CHECKING:
    from inorder.proof.proving import Prover


class Anomalous(msgspec.Struct, kw_only=True):
    """A counterexample."""

    anomaly: str
    name: str
    says: str
    why: str
    schedule: list[str]
    """The actions, a line each."""
    events: dict[str, str]
    """The payloads, by key and version."""
    smaller: int | None
    """States of smaller schedules, all of which were looked at and show no anomaly; None: not all could be."""
    where: Line
    because: str
    passes_with: str
    token: str
    test: str


def explain(
    prover: Prover,
    schedule: Schedule,
    case: Case,
    finding: Finding,
    seen: Seen | None,
    looked: int | None,
) -> Anomalous:
    """Everything that is to be said of a counterexample."""
    declared = prover.subject.declared
    token = token_of(schedule, dict(case))
    where, because = _where(prover, schedule, case, seen)
    return Anomalous(
        anomaly=finding.anomaly,
        name=finding.name,
        says=ANOMALIES[finding.anomaly].says,
        why=finding.why,
        schedule=told(schedule),
        events={f"{key} v{version}": message.value.decode() for (key, version), message in case.items()},
        smaller=looked,
        where=where,
        because=because,
        passes_with=_passes_with(prover, case, seen),
        token=token,
        test=_test(declared.name, declared.function.__module__, finding, token, schedule),
    )


def told(schedule: Schedule) -> list[str]:
    """The actions for people."""
    lines: list[str] = []
    came: set[object] = set()
    for act in schedule:
        words = {
            Do.DELIVER: f"{act.place and act.place[0]} v{act.place and act.place[1]} is delivered",
            Do.AGAIN: "what was not committed is delivered again",
            Do.LOOK: "the worker does what is due",
            Do.WAIT: "time passes, and the worker does what has come due",
            Do.WAKE: "the worker that stood still goes on",
            Do.REPLAY: f"an operator replays {act.place and act.place[0]} v{act.place and act.place[1]}, mended",
            Do.DRAIN: f"the replay puts through what waits behind it for {act.place and act.place[0]}",
            Do.ABANDON: "the replay dies",
        }[act.kind]
        if act.kind is Do.DELIVER and act.place in came:
            words += " again"
        came.add(act.place if act.kind is Do.DELIVER else None)
        lines.append(words if act.fate is Fate.DONE else f"{words}; {act.fate}")
    lines.append("nothing more happens")
    return lines


def _where(prover: Prover, schedule: Schedule, case: Case, seen: Seen | None) -> tuple[Line, str]:
    subject = prover.subject
    code = subject.declared.function.__code__
    if seen is not None and seen.line:
        return line(seen.file, seen.line), seen.what
    order = [act.place for act in schedule if act.place in case and act.kind is Do.DELIVER and act.place is not None]
    right = sorted(dict.fromkeys(order))
    wrong = list(dict.fromkeys(order)) if len(set(order)) == len(order) else order
    found = blamed(code, *(_lines(prover, case, [case[place] for place in sequence]) for sequence in (right, wrong)))
    if seen is not None:
        return found, seen.what
    return found, "what this line makes depends on which events came before"


def _lines(prover: Prover, case: Case, messages: Sequence[Message]) -> list[list[int]]:
    """Which lines of the function ran, call by call, for these events in this sequence."""
    subject = prover.subject
    code = subject.declared.function.__code__
    store = TablesStore(subject.declared.name, subject.setup) if subject.declared.kind is Kind.TX else None
    states: dict[str, object] = {}
    return [traced(code, partial(subject.once, message, states, store)) for message in messages]


def _passes_with(prover: Prover, case: Case, seen: Seen | None) -> str:
    declared = prover.subject.declared
    if seen is not None:
        inside = "its result" if declared.kind is Kind.FOLD else "tx"
        given = "its two arguments" if declared.kind is Kind.FOLD else "its event and tx"
        return f"a function that takes in nothing but {given}, and changes nothing but {inside}"
    if declared.order is not Order.STRICT and prover.passes_with(Order.STRICT, case):
        return 'order="strict" (the same schedule and the small scopes were searched with it)'
    return "no order that can be declared"


def _test(name: str, module: str, finding: Finding, token: str, schedule: Schedule) -> str:
    at = module.removeprefix("inorder_consumer_")
    comment = "; ".join(map(str, schedule))
    return (
        f"from inorder.testing import replay\n\nfrom {at} import {name}\n\n\n"
        f"def test_{name.replace('-', '_').replace('.', '_')}_{finding.anomaly.lower()}() -> None:\n"
        f"    # {finding.name}: {comment}\n"
        f'    replay({name}, "{token}")\n'
    )
