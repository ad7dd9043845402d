"""For each anomaly, histories that are valid and histories that are not. Written by hand, a line a step.

A line is `operation event field=value …`: `apply a2 via=replay` says that version 2 of key a, with the id a2, took
effect by a replay.
"""

from __future__ import annotations

import msgspec

from inorder.proof.trace import Op, Rules, Step, Trace

_WORDS = {
    "accept": Op.ACCEPTED,
    "apply": Op.APPLIED,
    "hold": Op.HELD,
    "release": Op.RELEASED,
    "decide": Op.DECIDED,
    "letter": Op.LETTER,
    "resolve": Op.RESOLVED,
    "skip": Op.SKIPPED,
    "start": Op.STARTED,
    "end": Op.ENDED,
    "call": Op.CALLED,
    "assign": Op.ASSIGNED,
    "commit": Op.COMMITTED,
    "delete": Op.DELETED,
    "crash": Op.CRASHED,
    "state": Op.STATE,
    "find": Op.FOUND,
    "rest": Op.REST,
}
_DEFAULTS: dict[str, dict[str, object]] = {
    "hold": {"outcome": "held"},
    "decide": {"outcome": "duplicate"},
    "letter": {"reason": "failed"},
}
_WHOLE = {"epoch", "tx", "version", "offset", "at"}


def step(line: str) -> Step:
    """`apply a2 via=replay` as a step. The event a2 has the id a2; `a2/x` has the id x. Partitions are p."""
    word, *rest = line.split()
    fields: dict[str, object] = {"op": _WORDS[word], **_DEFAULTS.get(word, {})}
    for part in rest:
        name, equals, value = part.partition("=")
        if equals:
            fields[name] = int(value) if name in _WHOLE else value
        else:
            place, _, event_id = part.partition("/")
            fields |= {"key": place[0]}
            if place[1:]:
                fields |= {"version": int(place[1:]), "id": event_id or place}
    if {"offset", "epoch"} & fields.keys():
        fields.setdefault("partition", "p")
    return msgspec.convert(fields, Step, strict=False)


def trace(text: str, **rules: object) -> Trace:
    """A trace from lines; `;` ends a line too."""
    lines = [line.strip() for line in text.replace(";", "\n").splitlines()]
    return Trace(msgspec.convert(rules, Rules), [step(line) for line in lines if line])


History = tuple[str, dict[str, object]]

LATEST: dict[str, object] = {"order": "latest"}
COMMUTATIVE: dict[str, object] = {"order": "commutative"}
STRICT: dict[str, object] = {}

VALID: dict[str, list[History]] = {
    "S1": [("apply a1; apply a2; apply b1", STRICT), ("decide a1; apply a1; decide a1", STRICT)],
    "S2": [("apply a1; apply a3", LATEST), ("apply a3; apply a1", COMMUTATIVE)],
    "S3": [("apply a1; apply b1; apply a2", STRICT), ("apply a1; skip a2; apply a3", STRICT), ("apply a3", LATEST)],
    "S4": [
        ("accept a1 offset=0; accept a1 offset=1; apply a1; rest", STRICT),
        ("accept a2 offset=0; hold a2; rest", STRICT),
        ("accept offset=0; letter offset=0 reason=malformed; rest", STRICT),
        ("accept a1 offset=0; accept a2 offset=1; apply a2; decide a1 outcome=stale; rest", LATEST),
        ("accept a1 offset=0; skip a1; rest", STRICT),
        ("accept a1 offset=0; accept a1/x offset=1; apply a1; letter a1/x offset=1 reason=conflict; rest", STRICT),
    ],
    "S5": [
        ("hold a2; apply a1; release a2; apply a2; rest", STRICT),
        ("hold a2; find a2 what=held; rest", STRICT),
        ("accept a2 offset=3; hold a2; apply a1; release a2; letter a2 offset=3; rest", STRICT),
    ],
    "S6": [
        ("hold a3 at=0; apply a1; find a3 what=held at=0; find a what=waiting reason=gap; rest at=100", STRICT),
        ("hold a3 at=0; find a3 what=held at=0; find a what=waiting reason=parked; rest at=900", STRICT),
    ],
    "S7": [
        ("accept a1 offset=0; apply a1; commit offset=1 epoch=1; accept a2 offset=1", STRICT),
        ("accept a2 offset=0; hold a2; delete offset=0", STRICT),
        ("accept offset=0; letter offset=0 reason=malformed; commit offset=1", STRICT),
        ("accept a1 offset=0; apply a1; accept a1 offset=1; decide a1; commit offset=2", STRICT),
    ],
    "S8": [("commit offset=3 epoch=1; commit offset=3 epoch=1; commit offset=2 epoch=2", STRICT)],
    "S9": [
        ("assign epoch=1; apply a1 epoch=1; assign epoch=2; apply a2 epoch=2; apply a3", STRICT),
        ("assign epoch=1; assign epoch=2; call a1 epoch=1; call a1 epoch=2", STRICT),
    ],
    "S10": [
        ("start a1 worker=w; start b1 worker=w; end a1 worker=w; start a2 worker=w", STRICT),
        ("start a1 worker=w epoch=1; start a1 worker=x epoch=2", STRICT),
        ("start a1 worker=w; crash worker=w; start a1 worker=x", STRICT),
    ],
    "S11": [('apply a1 tx=1; state a state=[[1,"a1"]] tx=1; find a what=state state=[[1,"a1"]]', STRICT)],
    "S12": [
        ("letter a1 offset=0; apply b1; apply a1 via=replay; resolve offset=0; apply a2", STRICT),
        ("apply a1; letter a1/x offset=1 reason=conflict; apply a2", STRICT),
        ("letter a1 offset=0; apply a2", {"order": "latest", "parks": False}),
    ],
    "S13": [
        ("letter a1 offset=0; find offset=0 what=letter; rest", STRICT),
        ("accept a1 offset=0; letter a1 offset=0; apply a1; resolve a1 offset=0; rest", STRICT),
        ("accept a1 offset=0; letter a1 offset=0; skip a1; resolve a1 offset=0; rest", STRICT),
    ],
    "S14": [("letter a1 offset=0; apply a1 via=replay; decide a1; apply a2 via=drain", STRICT)],
    "S15": [
        ("apply a1 via=replay; apply a2 via=drain; apply a3", STRICT),
        ("apply a1 via=replay; skip a2; apply a3 via=replay", STRICT),
        ("apply a3; apply a1 via=replay", COMMUTATIVE),
    ],
    "S16": [
        (
            "hold a2; release a2; letter a2 offset=1; hold a3; find a3 what=held;"
            "find a what=waiting reason=parked; rest",
            STRICT,
        ),
        ("hold a2; apply a1; release a2; apply a2; rest", STRICT),
    ],
    "S17": [("apply a1; apply a2; decide a1", {"remembered": 1}), ("apply a1; apply a2", STRICT)],
    "S18": [
        ("call a1; apply a1; call a1; apply a2; call a2; rest", {"calls": True}),
        ("call a1; letter a1 offset=0; rest", {"calls": True}),
        ("apply a1; rest", STRICT),
    ],
    "S19": [("apply a1 tx=1; apply b1 tx=1; state a state=1 tx=1; state b state=1 tx=1", STRICT)],
    "S20": [
        (
            "accept a2 offset=0; accept a1 offset=1; apply a1; apply a2;"
            'find a what=state state=[[1,"a1"],[2,"a2"]]; rest',
            STRICT,
        ),
        ("accept a2 offset=0; hold a2; rest", STRICT),
        ("accept a1 offset=0; letter a1 offset=0; rest", STRICT),
        (
            'accept a1 offset=0; letter a1 offset=0; accept a2 offset=1; find a what=state state=[[2,"a2"]]; rest',
            {"order": "latest", "parks": False},
        ),
    ],
    "S21": [
        ("find what=lag partition=p offset=0; rest", STRICT),
        ("letter a1 offset=0; hold a2; find a what=waiting reason=parked; find a2 what=held; rest", STRICT),
        ("accept a2 offset=0; hold a2; find a what=waiting reason=parked; find a2 what=held; rest", STRICT),
    ],
    "S22": [
        ("apply a1 via=replay at=1; apply b1 via=replay at=1; apply c1 via=replay at=2", {"replay_per_s": 2}),
        ("apply a1 via=replay at=1; apply b1 via=replay at=1", STRICT),
    ],
}

INVALID: dict[str, list[History]] = {
    "S1": [
        ("apply a1; apply a1", STRICT),
        ("apply a1; apply a1/x", LATEST),
        ("apply a2; apply a1; apply a2", COMMUTATIVE),
    ],
    "S2": [("apply a1; apply a3; apply a2", LATEST), ("apply a2; apply a1", STRICT)],
    "S3": [("apply a1; apply a3", STRICT), ("apply a2", STRICT), ("apply a4", {"baseline": 2})],
    "S4": [
        ("accept a1 offset=0; rest", STRICT),
        ("accept offset=0; rest", STRICT),
        ("accept a1 offset=0; decide a1; rest", STRICT),
        ("accept a1 offset=0; accept a1/x offset=1; apply a1; rest", STRICT),
        ("accept a1 offset=0; apply a2; rest", COMMUTATIVE),
    ],
    "S5": [("hold a2; apply a1; rest", STRICT), ("hold a2; apply a1; release a2; rest", STRICT)],
    "S6": [
        ("hold a2; apply a1; find a2 what=held; rest", STRICT),
        ("hold a3 at=0; find a3 what=held at=0; find a what=waiting reason=gap; rest at=900", STRICT),
    ],
    "S7": [
        ("accept a1 offset=0; commit offset=1 epoch=1; apply a1", STRICT),
        ("accept a1 offset=0; accept a2 offset=1; apply a1; commit offset=2", STRICT),
        ("accept a1 offset=4; delete offset=4", STRICT),
        ("accept offset=0; commit offset=1", STRICT),
    ],
    "S8": [("commit offset=3 epoch=1; commit offset=2 epoch=1", STRICT)],
    "S9": [
        ("assign epoch=1 worker=w; assign epoch=2 worker=x; apply a1 epoch=1 worker=w", STRICT),
        ("assign epoch=1; assign epoch=2; hold a2 epoch=1", STRICT),
        ("assign epoch=1; assign epoch=2; commit offset=2 epoch=1", STRICT),
        ("assign epoch=1; assign epoch=2; call a1 epoch=2; call a1 epoch=1", STRICT),
    ],
    "S10": [
        ("start a1 worker=w; start a2 worker=w", STRICT),
        ("start a1 worker=w epoch=1; start a2 worker=w epoch=1", STRICT),
    ],
    "S11": [
        ("apply a1 tx=1; state a state=[] tx=1", STRICT),
        ('apply a1; apply a2; find a what=state state=[[1,"a1"]]', STRICT),
        ('find a what=state state=[[1,"a1"]]', STRICT),
    ],
    "S12": [
        ("letter a1 offset=0; apply a2", STRICT),
        ("letter a1 offset=0; apply a2", LATEST),
        ("letter a1 offset=0; apply a1 via=replay; apply a2 via=drain", STRICT),
    ],
    "S13": [
        ("letter a1 offset=0; letter a1 offset=0", STRICT),
        ("letter a1 offset=0; rest", STRICT),
        ("accept a1 offset=0; letter a1 offset=0; resolve a1 offset=0; rest", STRICT),
        ("letter a1 offset=0; find offset=0 what=letter; find offset=0 what=letter; rest", STRICT),
    ],
    "S14": [
        ("apply a1; apply a1 via=replay", STRICT),
        ("apply a1 via=replay; apply a1", STRICT),
        ("apply a2 via=held; apply a2 via=drain", STRICT),
    ],
    "S15": [
        ("apply a3; apply a1 via=replay", LATEST),
        ("apply a1; apply a3 via=drain", STRICT),
        ("apply a2 via=replay; apply a1 via=replay", LATEST),
    ],
    "S16": [
        ("hold a2; release a2; letter a2 offset=1; hold a3; find a3 what=held; rest", STRICT),
        (
            "hold a2; letter a2 offset=1; hold a3; find a3 what=held; find a what=waiting reason=gap; rest",
            STRICT,
        ),
    ],
    "S17": [
        ("apply a1; apply a2; apply a1", {"order": "commutative", "remembered": 1}),
        ("apply a1 at=0; apply a1 at=400", STRICT),
    ],
    "S18": [
        ("call a1; rest", {"calls": True}),
        ("apply a1; rest", {"calls": True}),
        ("call a1; call a1; apply a1; rest", STRICT),
        ("call a1; rest", STRICT),
    ],
    "S19": [
        ("apply a1 tx=1; state a state=1 tx=1; state b state=1 tx=1", STRICT),
        ("apply b1 tx=1; apply a1 tx=2; state b state=1 tx=2", STRICT),
    ],
    "S20": [
        ('accept a1 offset=0; apply a1; find a what=state state=[[1,"x"]]; rest', STRICT),
        ("accept a1 offset=0; apply a1; rest", STRICT),
        ('accept a2 offset=0; accept a1 offset=1; find a what=state state=[[2,"a2"],[1,"a1"]]; rest', COMMUTATIVE),
    ],
    "S21": [
        ("find what=lag partition=p offset=2; rest", STRICT),
        ("hold a2; find a2 what=held; rest", STRICT),
        ("accept a1 offset=0; apply a1; find a what=waiting reason=parked; accept a2 offset=1; rest", STRICT),
    ],
    "S22": [
        ("apply a1 via=replay at=1; apply b1 via=replay at=1; apply c1 via=replay at=1", {"replay_per_s": 2}),
    ],
}
