"""One entity's events: the order in which they arrived, beside the order in which they took effect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import TypeVar

import msgspec

from inorder.lab.accounts import Account, Entry, post
from inorder.lab.history import Effect, History, Receipt

Step = TypeVar("Step", Receipt, Effect)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One step. What a consumer did not receive is None; one consumer may receive again what the other does not."""

    arrived: Entry | None
    """None: nothing arrived, something that had waited took effect."""
    naive: int | None = None
    """The naive balance after it."""
    failed: bool = False
    """The naive consumer could not apply it."""
    outcome: str | None = None
    """What inorder decided."""
    effect: Entry | None = None
    """What took effect in inorder."""
    expected: int = 1
    """The version that inorder waited for when it decided."""
    balance: int
    """inorder's balance after it."""


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """One entity, some of its steps, and its final states."""

    account: str
    rows: list[Row]
    before: int
    """How many steps came before those."""
    after: int
    naive: Account
    inorder: Account
    truth: Account


class States(msgspec.Struct, frozen=True, kw_only=True):
    """The final states of all accounts."""

    naive: Mapping[str, Account]
    inorder: Mapping[str, Account]
    truth: Mapping[str, Account]


def timeline(naive: History, inorder: History, wrong: Iterable[str], states: States, most: int) -> Timeline | None:
    """Up to `most` steps of that one of the `wrong` accounts in which they show most."""
    theirs, ours, waited = by_account(naive.settled), by_account(inorder.settled), by_account(inorder.effects)
    best: tuple[tuple[int, str], Timeline] | None = None
    for account in wrong:
        mine = sorted(ours.get(account, []), key=lambda one: one.decided_at)
        rows = _rows(theirs.get(account, []), mine, waited.get(account, []))
        start, worth = max(((at, _worth(rows[at : at + most])) for at in range(len(rows))), key=lambda found: found[1])
        shown = rows[start : start + most]
        none = Account()
        found = Timeline(
            account=account,
            rows=shown,
            before=start,
            after=len(rows) - start - len(shown),
            naive=states.naive.get(account, none),
            inorder=states.inorder.get(account, none),
            truth=states.truth.get(account, none),
        )
        if best is None or (worth, account) > best[0]:
            best = (worth, account), found
    return best[1] if best else None


def by_account(steps: Iterable[Step]) -> dict[str, list[Step]]:
    """The steps of each account, in the order in which they came."""
    found: dict[str, list[Step]] = {}
    for step in steps:
        found.setdefault(step.entry.account, []).append(step)
    return found


def _rows(theirs: Sequence[Receipt], mine: Sequence[Receipt], waited: Sequence[Effect]) -> list[Row]:
    """What both consumers received, side by side, and what inorder let take effect later, where it did."""
    rows: list[Row] = []
    account: Account | None = None
    expected = 1
    late = list(waited)
    for their, our in _pairs(theirs, mine):
        entry = (their or our).entry  # type: ignore[union-attr]
        applied = our is not None and our.outcome == "applied"
        if applied:
            account = post(account, entry)
        rows.append(
            Row(
                arrived=entry,
                naive=None if their is None else their.balance,
                failed=their is not None and their.outcome != "applied",
                outcome=None if our is None else our.outcome,
                effect=entry if applied else None,
                expected=expected,
                balance=account.balance if account else 0,
            )
        )
        expected += applied
        following = next((one.decided_at for one in mine if our is not None and one.decided_at > our.decided_at), None)
        while our is not None and late and (following is None or late[0].at < following):
            effect = late.pop(0)
            if effect.outcome == "applied":
                account = post(account, effect.entry)
                rows.append(Row(arrived=None, effect=effect.entry, expected=expected, balance=account.balance))
                expected += 1
    return rows


def _pairs(theirs: Sequence[Receipt], mine: Sequence[Receipt]) -> list[tuple[Receipt | None, Receipt | None]]:
    """The same delivery beside itself, as far as both have it in the same order."""
    numbers = [one.delivery.number for one in theirs], [one.delivery.number for one in mine]
    if numbers[0] == numbers[1]:
        return list(zip(theirs, mine, strict=True))
    found: list[tuple[Receipt | None, Receipt | None]] = []
    for same, start, end, begin, finish in SequenceMatcher(None, *numbers, autojunk=False).get_opcodes():
        if same == "equal":
            found += zip(theirs[start:end], mine[begin:finish], strict=True)
        else:
            found += [(one, None) for one in theirs[start:end]]
            found += [(None, one) for one in mine[begin:finish]]
    return found


def _worth(rows: Sequence[Row]) -> int:
    """How much these rows show: agreement at first, then each kind of trouble, none of it one-sided."""
    if not rows or rows[0].arrived is None:
        return -1
    outcomes = {row.outcome for row in rows if row.naive is not None}
    last = next((row for row in reversed(rows) if row.naive is not None), None)
    return (
        4 * (last is not None and last.naive != last.balance)
        + 3 * ("held" in outcomes)
        + 3 * any(row.arrived is None for row in rows)
        + 2 * ("duplicate" in outcomes)
        + (rows[0].naive == rows[0].balance and rows[0].outcome == "applied")
        - sum(row.arrived is not None and None in {row.naive, row.outcome} for row in rows)
    )
