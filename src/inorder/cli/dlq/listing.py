"""`inorder dlq list`."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from inorder.cli.codes import Exit
from inorder.cli.dlq.asking import COUNTED, DEFAULT_STORE, Json, Store, Stream, check_key
from inorder.cli.dlq.words import age, count, cut, print_json, print_table, since, stamp
from inorder.cli.streams import open_stream
from inorder.core.waiting import AT_ONCE, NEVER, Wait, Waiting

Reasons = Literal["failed", "malformed", "conflict", "late"]
ReasonFilter = Annotated[Reasons | None, Parameter("--reason", help="Only those given up on for this reason")]
KeyFilter = Annotated[str | None, Parameter(validator=check_key, help="Only this key")]
Since = Annotated[str | None, Parameter("--since", help="Only those that failed since: 30m, 2h, 1d or a time (UTC)")]


_WAITING = {"gap": "for a version that has not come", "retry": "for another try", "replay": "for their replay"}


def list_letters(
    *,
    store: Store = DEFAULT_STORE,
    stream: Stream = None,
    key: KeyFilter = None,
    reason: ReasonFilter = None,
    since_: Since = None,
    status: Annotated[Literal["open", "resolved", "skipped", "all"], Parameter(help="Which letters")] = "open",
    limit: Annotated[int, Parameter(validator=COUNTED, help="Most keys to name")] = 50,
    as_json: Json = False,
) -> int:
    """What failed: dead letters by reason and by key, with their counts and ages.

    failed: the handler raised. malformed: no event could be read. conflict: two
    events claim one version. late: it came after its version was skipped. Keys that
    wait without a letter, for a version that has not come, are named below them.
    """
    look = open_stream(store, stream)
    try:
        now = time.time()
        wanted = None if status == "all" else status
        filters = {"status": wanted, "reason": reason, "key": key, "since": since(since_, now)}
        found = _document(look, filters, limit, now)
    finally:
        look.close()
    if as_json:
        print_json(found)
    else:
        _print(found, now)
    return Exit.OK


def _document(look: Any, filters: dict[str, Any], limit: int, now: float) -> dict[str, Any]:
    reasons = look.letters_by_reason(**filters)
    keys = look.letters_by_key(limit, **filters)
    entities = look.load([row.key for row in keys if row.key is not None])
    named = [_key(row, entities.get(row.key), now) for row in keys]
    if filters["status"] == "open" and filters["reason"] is None and len(named) < limit:
        named += _alone(look, filters["key"], filters["since"], limit - len(named), now)
    waits = look.waiting_counts()
    oldest = min((row.first_at for row in reasons), default=None)
    return {
        "stream": look.stream,
        "status": filters["status"] or "all",
        "letters": sum(row.letters for row in reasons),
        "parked_keys": waits.get(Wait.PARKED, 0),
        "waiting_keys": {str(why): waits.get(why, 0) for why in (Wait.GAP, Wait.RETRY, Wait.REPLAY)},
        "held": look.held_count(),
        "oldest_at": stamp(oldest),
        "oldest_age_s": None if oldest is None else round(now - oldest, 1),
        "by_reason": [
            {
                "reason": row.reason,
                "kind": row.kind,
                "letters": row.letters,
                "keys": row.keys,
                "first_at": stamp(row.first_at),
                "last_at": stamp(row.last_at),
                "age_s": round(now - row.first_at, 1),
                "example": row.example,
                "example_letter": row.first_id,
            }
            for row in reasons
        ],
        "by_key": named,
    }


def _key(row: Any, entity: Any, now: float) -> dict[str, Any]:
    """A key that has letters; a partition, of the letters whose key could not be read."""
    return {
        "key": row.key,
        "partition": row.partition,
        "letters": row.letters,
        "first_letter": row.first_id,
        "version": row.first_version,
        "first_at": stamp(row.first_at),
        "last_at": stamp(row.last_at),
        "age_s": round(now - row.first_at, 1),
        **_waits(entity, now),
    }


def _alone(look: Any, key: str | None, since: float, most: int, now: float) -> list[dict[str, Any]]:
    """Keys that wait although they have no letter: for a version that has not come, a retry, or a replay."""
    alone = look.waiting_alone(most, key, since)
    entities = look.load(list(alone))
    return [
        {
            "key": name,
            "partition": None if waiting.home is None else str(waiting.home),
            "letters": 0,
            "first_letter": None,
            "version": waiting.version,
            "first_at": stamp(waiting.since),
            "last_at": stamp(waiting.since),
            "age_s": round(now - waiting.since, 1),
            **_waits(entities.get(name), now),
        }
        for name, waiting in alone.items()
    ]


def _waits(entity: Any, now: float) -> dict[str, Any]:
    """Whether and why a key waits, what for, and how much waits with it."""
    waiting = entity.waiting if entity is not None else None
    found: dict[str, Any] = {
        "parked": waiting is not None and waiting.why is Wait.PARKED,
        "waits": None if waiting is None else waiting.why.value,
        "waits_because": None if waiting is None else _because(waiting),
        "due_at": None if waiting is None or waiting.due_at in {NEVER, AT_ONCE} else stamp(waiting.due_at),
        "due_in_s": None if waiting is None or waiting.due_at == NEVER else max(0.0, round(waiting.due_at - now, 1)),
    }
    return {**found, "behind": len(entity.held) if entity is not None else 0}


def _because(waiting: Waiting) -> str:
    if waiting.why is Wait.GAP:
        return f"version {waiting.version} has not come" if waiting.due_at != AT_ONCE else "is about to go on"
    return "is being replayed" if waiting.why is Wait.REPLAY else waiting.reason


def _state(row: dict[str, Any]) -> str:
    """The same for people, on one line."""
    because, due = row["waits_because"] or "", row["due_in_s"]
    if row["waits"] == Wait.PARKED:
        return f"parked: {because}"
    if row["waits"] == Wait.GAP and due:
        return f"{because}; parks in {age(due)} without it"
    if row["waits"] == Wait.RETRY:
        return f"tried again in {age(due or 0)}: {because}"
    return because


def _print(found: dict[str, Any], now: float) -> None:
    which = "" if found["status"] == "all" else f"{found['status']} "
    letters = count(found["letters"], f"{which}letter")
    parked, held = count(found["parked_keys"], "parked key"), count(found["held"], "event")
    oldest = "" if found["oldest_age_s"] is None else f"; the oldest is {age(found['oldest_age_s'])} old"
    print(f"stream {found['stream']}: {letters}, {parked}, {held} waiting{oldest}")
    others = [f"{number:,} {_WAITING[why]}" for why, number in found["waiting_keys"].items() if number]
    if others:
        print(f"other keys that wait: {', '.join(others)}")
    if found["by_reason"]:
        print()
        rows = [
            (
                row["reason"],
                cut(row["kind"], 40),
                f"{row['letters']:,}",
                f"{row['keys']:,}",
                age(row["age_s"]),
                str(row["example_letter"]),
                cut(row["example"], 60),
            )
            for row in found["by_reason"]
        ]
        print_table(("reason", "error", "letters", "keys", "oldest", "id", "example"), rows, right=(2, 3, 4, 5))
    if found["by_key"]:
        print()
        rows = [
            (
                cut(row["key"], 40) if row["key"] is not None else f"(unreadable, {row['partition']})",
                f"{row['letters']:,}",
                "" if row["first_letter"] is None else str(row["first_letter"]),
                "" if row["version"] is None else f"{row['version']:,}",
                f"{row['behind']:,}",
                age(row["age_s"]),
                cut(_state(row), 60),
            )
            for row in found["by_key"]
        ]
        print_table(("key", "letters", "id", "version", "behind", "oldest", "state"), rows, right=(1, 2, 3, 4, 5))
