"""`inorder dlq list`."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from inorder.cli.codes import Exit
from inorder.cli.dlq.asking import DEFAULT_STORE, Json, Store, Stream
from inorder.cli.dlq.words import age, count, cut, print_json, print_table, since, stamp
from inorder.cli.streams import open_stream

Reasons = Literal["failed", "malformed", "conflict", "late"]
ReasonFilter = Annotated[Reasons | None, Parameter("--reason", help="Only those given up on for this reason")]
KeyFilter = Annotated[str | None, Parameter(help="Only this key")]
Since = Annotated[str | None, Parameter("--since", help="Only those that failed since: 30m, 2h, 1d or a time (UTC)")]


def list_letters(
    *,
    store: Store = DEFAULT_STORE,
    stream: Stream = None,
    key: KeyFilter = None,
    reason: ReasonFilter = None,
    since_: Since = None,
    status: Annotated[Literal["open", "resolved", "skipped", "all"], Parameter(help="Which letters")] = "open",
    limit: Annotated[int, Parameter(validator=Number(gte=1), help="Most keys to name")] = 50,
    as_json: Json = False,
) -> int:
    """What failed: dead letters by reason and by key, with their counts and ages.

    failed: the handler raised. malformed: no event could be read. conflict: two
    events claim one version. late: it came after its version was skipped.
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
        named += _missing(look, filters["key"], limit - len(named), now)
    oldest = min((row.first_at for row in reasons), default=None)
    return {
        "stream": look.stream,
        "status": filters["status"] or "all",
        "letters": sum(row.letters for row in reasons),
        "parked_keys": look.parked_count(),
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
    waiting = entity.waiting if entity is not None else None
    return {
        "key": row.key,
        "partition": row.partition,
        "letters": row.letters,
        "first_letter": row.first_id,
        "version": row.first_version,
        "parked": waiting is not None and waiting.why.value == "parked",
        "behind": len(entity.held) if entity is not None else 0,
        "first_at": stamp(row.first_at),
        "last_at": stamp(row.last_at),
        "age_s": round(now - row.first_at, 1),
        "waits_because": waiting.reason if waiting is not None else None,
    }


def _missing(look: Any, key: str | None, most: int, now: float) -> list[dict[str, Any]]:
    """Keys that are parked although they have no letter: a version never came."""
    found = []
    for name, waiting in look.parked():
        if waiting.missing and key in {None, name}:
            behind, _, _ = look.held_versions(name)
            found.append(
                {
                    "key": name,
                    "partition": None if waiting.home is None else str(waiting.home),
                    "letters": 0,
                    "first_letter": None,
                    "version": waiting.version,
                    "parked": True,
                    "behind": behind,
                    "first_at": stamp(waiting.since),
                    "last_at": stamp(waiting.since),
                    "age_s": round(now - waiting.since, 1),
                    "waits_because": waiting.reason,
                }
            )
        if len(found) == most:
            break
    return found


def _print(found: dict[str, Any], now: float) -> None:
    which = "" if found["status"] == "all" else f"{found['status']} "
    letters = count(found["letters"], f"{which}letter")
    parked, held = count(found["parked_keys"], "parked key"), count(found["held"], "event")
    oldest = "" if found["oldest_age_s"] is None else f"; the oldest is {age(found['oldest_age_s'])} old"
    print(f"stream {found['stream']}: {letters}, {parked}, {held} waiting{oldest}")
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
                cut(("parked: " if row["parked"] else "") + (row["waits_because"] or ""), 60),
            )
            for row in found["by_key"]
        ]
        print_table(("key", "letters", "id", "version", "behind", "oldest", "state"), rows, right=(1, 2, 3, 4, 5))
