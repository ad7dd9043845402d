"""`inorder dlq show`."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from inorder.cli.codes import Exit
from inorder.cli.dlq.asking import DEFAULT_STORE, DIGITS, Json, Store, Stream, check_key, open_for_letter
from inorder.cli.dlq.auditing import line, print_lines
from inorder.cli.dlq.words import cut, harmless, payload, payload_line, print_json, print_pairs, print_table, stamp
from inorder.core.order import Order
from inorder.errors import NotFound, UsageError

MOST = 20
"""Letters of one key, and lines of the audit, that are shown to people. JSON has all."""


def show(
    target: Annotated[str | None, Parameter(validator=check_key, help="The number of a letter, or a key")] = None,
    /,
    *,
    key: Annotated[str | None, Parameter(validator=check_key, help="A key, where it looks like a number")] = None,
    store: Store = DEFAULT_STORE,
    stream: Stream = None,
    with_payload: Annotated[
        bool, Parameter("--payload", negative=(), show_default=False, help="Show payloads and states, too")
    ] = False,
    as_json: Json = False,
) -> int:
    """One letter, or all about one key: what waits, why, and what was done about it.

    Payloads and states may be confidential: they are shown with --payload only.
    """
    if (target is None) == (key is None):
        raise UsageError("show takes the number of a letter, or a key: inorder dlq show 12, inorder dlq show --key K")
    number = int(target) if target is not None and target.isdecimal() and len(target) <= DIGITS else None
    look = open_for_letter(store, stream, number)
    try:
        row = look.letter(number) if number is not None else None
        if row is not None:
            document = _letter(look, row, with_payload)
        else:
            document = _key(look, key if key is not None else str(target), with_payload)
    finally:
        look.close()
    if as_json:
        print_json(document)
    elif row is not None:
        _print_letter(document, payload_line(row.letter.record.value) if with_payload else None)
    else:
        _print_key(document)
    return Exit.OK


def _letter(look: Any, row: Any, with_payload: bool) -> dict[str, Any]:
    letter, record = row.letter, row.letter.record
    edits = look.edits(row.id)
    document = {
        "letter": row.id,
        "stream": look.stream,
        "status": row.status,
        "note": row.note,
        "resolved_at": stamp(row.resolved_at),
        "key": letter.key,
        "version": letter.version,
        "event_id": letter.event_id,
        "reason": letter.reason.value,
        "detail": letter.detail,
        "attempts": letter.attempts,
        "first_at": stamp(letter.first_at),
        "last_at": stamp(letter.last_at),
        "code_version": row.code_version,
        "position": {"topic": record.partition.topic, "partition": record.partition.number, "offset": record.offset},
        "timestamp_ms": record.timestamp_ms,
        "headers": [[name, payload(value)] for name, value in record.headers],
        "bytes": len(record.value or b""),
        "error": letter.error,
        "edits": [
            {"edit": one.id, "at": stamp(one.at), "actor": one.actor, "reason": one.reason, "bytes": len(one.value)}
            | ({"payload": payload(one.value)} if with_payload else {})
            for one in edits
        ],
        "audit": [line(one) for one in look.audit(letter=row.id)],
    }
    if with_payload:
        document |= {"raw_key": payload(record.key), "payload": payload(record.value)}
    return document


def _print_letter(found: dict[str, Any], shown: str | None) -> None:
    at = found["position"]
    pairs = [
        ("letter", f"{found['letter']} of stream {found['stream']}, {found['status']}"),
        ("key", "not readable" if found["key"] is None else cut(found["key"], 200)),
        ("version", "not readable" if found["version"] is None else str(found["version"])),
        ("event id", "not readable" if found["event_id"] is None else cut(found["event_id"], 200)),
        ("reason", f"{found['reason']}: {cut(found['detail'], 300)}"),
        ("attempts", f"{found['attempts']}, from {found['first_at']} to {found['last_at']}"),
        ("code", found["code_version"] or "not known"),
        ("position", f"{harmless(at['topic'])}/{at['partition']}, offset {at['offset']}"),
        *((f"header {cut(name, 40)}", _header(value)) for name, value in found["headers"]),
        ("payload", f"{found['bytes']} bytes; add --payload to see it" if shown is None else shown),
    ]
    if found["note"]:
        pairs.append(("note", cut(found["note"], 300)))
    for one in found["edits"]:
        text = one["payload"].get("text") or str(one["payload"]) if "payload" in one else f"{one['bytes']} bytes"
        pairs.append((f"edit {one['edit']}", f"{one['at']} by {cut(one['actor'], 40)}: {cut(one['reason'], 100)}"))
        pairs.append(("", harmless(text)))
    print_pairs(pairs)
    if found["error"]:
        print()
        print(harmless(found["error"], lines=True).rstrip())
    _print_audit(found["audit"])


def _header(value: dict[str, str | None]) -> str:
    return cut(value.get("text") or str(value.get("base64") or ""), 200)


def _key(look: Any, key: str, with_payload: bool) -> dict[str, Any]:
    entity = look.load([key]).get(key)
    letters = list(look.letters(None, None, key))
    if entity is None and not letters:
        raise NotFound(f"stream {look.stream} has neither letter nor key {key!r}")
    waiting = entity.waiting if entity is not None else None
    behind, first, last = look.held_versions(key)
    order = next(row.order for row in look.streams() if row.name == look.stream)
    skipped = entity.ranges.pairs() if entity is not None and order is not Order.COMMUTATIVE else []
    document = {
        "stream": look.stream,
        "key": key,
        "version": entity.version if entity is not None else 0,
        "order": order.value,
        "waits": None
        if waiting is None
        else {
            "why": waiting.why.value,
            "version": waiting.version,
            "missing": waiting.missing,
            "since": stamp(waiting.since),
            "reason": waiting.reason,
        },
        "behind": {"events": behind, "first_version": first, "last_version": last},
        "skipped_versions": [list(pair) for pair in skipped],
        "letters": [
            {
                "letter": row.id,
                "status": row.status,
                "version": row.letter.version,
                "reason": row.letter.reason.value,
                "detail": row.letter.detail,
                "last_at": stamp(row.letter.last_at),
                "note": row.note,
            }
            for row in letters
        ],
        "audit": [line(one) for one in look.audit(key=key)],
    }
    if with_payload:
        state = entity.stored_state if entity is not None else None
        document["state"] = payload(bytes(state) if state is not None else None)
    return document


def _print_key(found: dict[str, Any]) -> None:
    waits, behind = found["waits"], found["behind"]
    pairs = [
        ("key", f"{cut(found['key'], 200)} of stream {found['stream']}"),
        ("version", f"{found['version']} took effect last"),
        ("waits", "no" if waits is None else _waits(waits)),
        ("behind", _behind(behind)),
    ]
    if found["skipped_versions"]:
        pairs.append(("skipped", "never applied: " + ", ".join(map(_range, found["skipped_versions"]))))
    if "state" in found:
        pairs.append(("state", harmless(found["state"].get("text") or str(found["state"].get("base64")))))
    print_pairs(pairs)
    if found["letters"]:
        print()
        rows = [
            (
                str(row["letter"]),
                row["status"],
                "" if row["version"] is None else str(row["version"]),
                f"{row['reason']}: {cut(row['detail'], 60)}",
                row["last_at"],
                cut(row["note"] or "", 60),
            )
            for row in found["letters"][-MOST:]
        ]
        print_table(("id", "status", "version", "why", "last failed", "note"), rows, right=(0, 2))
    _print_audit(found["audit"])


def _waits(waits: dict[str, Any]) -> str:
    missing = " (it never came)" if waits["missing"] else ""
    reason = f": {cut(waits['reason'], 200)}" if waits["reason"] else ""
    return f"{waits['why']} at version {waits['version']}{missing} since {waits['since']}{reason}"


def _behind(behind: dict[str, Any]) -> str:
    if not behind["events"]:
        return "nothing waits behind it"
    if behind["events"] == 1:
        return f"1 event waits, version {behind['first_version']}"
    return f"{behind['events']:,} events wait, versions {behind['first_version']} to {behind['last_version']}"


def _range(pair: list[int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]} to {pair[1]}"


def _print_audit(found: list[dict[str, Any]]) -> None:
    if found:
        print()
        print_lines(found[-MOST:])
