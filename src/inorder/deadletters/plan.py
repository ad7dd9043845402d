"""A replay plan: which letters, in which order, frozen in the store before anything is touched."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import Any

import msgspec

from inorder.codecs.json import JsonCodec
from inorder.deadletters.letters import Unreadable, event_of
from inorder.declaration import Declaration
from inorder.errors import NotFound
from inorder.stores.letter_rows import AuditRow, PlanLetter, PlanRow
from inorder.stores.rows import LetterRow
from inorder.wiring import open_store, public

MOST = 1_000_000
"""Most letters of one plan. More are left for the next one."""


def open_declared(store: str, declared: Declaration) -> Any:
    """The stream of a consumer, to be closed. Makes none: raises `NotFound` where there is none of its name, and
    `UsageError` where it was written under another declaration.
    """
    look = open_store(store, declared.name, create=False)
    try:
        names = [row.name for row in look.streams()]
        if declared.name not in names:
            has = ", ".join(names) or "none yet"
            raise NotFound(f"store {public(store)} has no stream {declared.name!r}: it has {has}")
        look.register(declared.order, declared.baseline)
    except BaseException:
        look.close()
        raise
    return look


def select(
    look: Any,
    declared: Declaration,
    *,
    keys: Collection[str] | None = None,
    ids: Collection[int] | None = None,
    reason: str | None = None,
    since: float = 0.0,
    most: int = MOST,
) -> list[PlanLetter]:
    """The open letters asked for, in the order of their replay: keys as they failed, each by version."""
    codec = JsonCodec(declared)
    # Their numbers, not the letters themselves: all of their payloads together may not fit into memory.
    found: list[tuple[int, str | None, int | None]] = []
    for row in _rows(look, keys, ids, reason):
        if row.letter.last_at < since or (
            keys is not None and row.letter.key is not None and row.letter.key not in keys
        ):
            continue
        key, version = _known_as(look, codec, row)
        if keys is None or key in keys:
            found.append((row.id, key, version))
    first: dict[Any, int] = {}
    for number, key, _ in found:
        at = key if key is not None else number
        first[at] = min(first.get(at, number), number)
    found.sort(key=lambda one: (first[one[1] if one[1] is not None else one[0]], one[2] or 0, one[0]))
    return [
        PlanLetter(place=place, letter=number, key=key, version=version, edit=_edit_of(look, number))
        for place, (number, key, version) in enumerate(found[:most])
    ]


def _rows(
    look: Any, keys: Collection[str] | None, ids: Collection[int] | None, reason: str | None
) -> Iterable[LetterRow]:
    if ids is not None:
        found = map(look.letter, sorted(set(ids)))
        return (
            row for row in found if row is not None and row.status == "open" and reason in {None, row.letter.reason}
        )
    if keys is not None and len(keys) == 1:
        # One key has its own index; a letter whose key could not be read must be looked for among those like it.
        unread = look.letters("open", "malformed") if reason in {None, "malformed"} else ()
        return chain(look.letters("open", reason, next(iter(keys))), (row for row in unread if row.letter.key is None))
    rows: Iterable[LetterRow] = look.letters("open", reason)
    return rows


def _edit_of(look: Any, number: int) -> int | None:
    edited = look.last_edit(number)
    return edited[0] if edited is not None else None


def _known_as(look: Any, codec: JsonCodec, row: LetterRow) -> tuple[str | None, int | None]:
    """Key and version of a letter: as received or, where they could not be read then, as they can be now."""
    if row.letter.key is not None and row.letter.version is not None:
        return row.letter.key, row.letter.version
    event = event_of(codec, row, look.edited(row.id))
    return (row.letter.key, None) if isinstance(event, Unreadable) else (event.key, event.version)


def chosen_by(**filters: Any) -> dict[str, Any]:
    """The filters that were given, as a plan keeps them."""
    plain = {
        name: sorted(value) if isinstance(value, Collection) and not isinstance(value, str) else value
        for name, value in filters.items()
    }
    return {name: value for name, value in plain.items() if value is not None}


def freeze(look: Any, draft: PlanRow, letters: Sequence[PlanLetter]) -> int:
    """Write a plan; returns its number. Nothing of it ever changes, but what became of each letter."""
    keys = {letter.key for letter in letters if letter.key is not None}
    draft = msgspec.structs.replace(draft, held=sum(look.held_count(key) for key in keys))
    with look.transaction() as tx:
        number: int = tx.add_plan(draft, letters)
        detail = f"{len(letters)} letters of {len(keys)} keys"
        tx.add_audit(
            AuditRow(
                at=draft.made_at, actor=draft.actor, action="plan", reason=draft.reason, plan=number, detail=detail
            )
        )
    return number
