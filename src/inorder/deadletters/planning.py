"""Makes replay plans: the letters that are asked for, rehearsed, and frozen in the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from inorder.deadletters.plan import MOST, chosen_by, freeze, open_declared, select
from inorder.deadletters.rehearsal import Rehearsal, Rehearsed
from inorder.deadletters.results import Result
from inorder.declaration import declaration_of
from inorder.stores.letter_rows import PlanLetter, PlanRow
from inorder.worker.assemble import planner_for
from inorder.worker.blame import code_version


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Which open letters are meant. What is not given does not limit."""

    keys: Collection[str] | None = None
    ids: Collection[int] | None = None
    reason: str | None = None
    """Why they were given up on: failed, malformed, conflict or late."""
    since: float = 0.0
    """Those that failed last at this time or later."""
    most: int = MOST


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A plan that was made, and what its rehearsal found."""

    plan: PlanRow
    letters: list[PlanLetter]
    rehearsed: Rehearsed | None


def make_plan(
    function: Callable[..., Any],
    store: str,
    choice: Choice,
    *,
    handler: str,
    actor: str,
    reason: str = "",
    rehearse: bool = True,
) -> Made | None:
    """Choose letters, rehearse them, and freeze them as a plan. Nothing else is changed. None: no letter matches."""
    declared = declaration_of(function)
    look = open_declared(store, declared)
    try:
        letters = select(
            look,
            declared,
            keys=choice.keys,
            ids=choice.ids,
            reason=choice.reason,
            since=choice.since,
            most=choice.most,
        )
        if not letters:
            return None
        now = time.time()
        rehearsed = Rehearsal(declared, planner_for(declared), look, now).run(letters) if rehearse else None
        selection = chosen_by(**msgspec.structs.asdict(choice))
        if rehearsed is not None:
            letters = rehearsed.letters
            selection |= {"behind": rehearsed.behind, "behind_failing": rehearsed.behind_failing}
        draft = PlanRow(
            handler=handler,
            code_version=code_version(function),
            made_at=now,
            actor=actor,
            reason=reason,
            selection=selection,
            event_s=rehearsed.event_s if rehearsed is not None else 0.0,
        )
        number = freeze(look, draft, letters)
        plan: PlanRow = look.plan(number)
        return Made(plan=plan, letters=letters, rehearsed=rehearsed)
    finally:
        look.close()


def rehearse_again(function: Callable[..., Any], store: str, number: int) -> Rehearsed:
    """Rehearse what is left to do of a plan, as things are now. Nothing is changed, not even the plan."""
    declared = declaration_of(function)
    look = open_declared(store, declared)
    try:
        left = [letter for letter in look.plan_letters(number) if letter.result not in _DONE]
        return Rehearsal(declared, planner_for(declared), look, time.time()).run(left)
    finally:
        look.close()


_DONE = {result.value for result in Result if result.final}


def estimated_s(events: int, event_s: float, rate: float | None, concurrency: int = 1) -> float:
    """About how long a replay takes: as long as the events take, or as the rate allows."""
    work_s = events * event_s / concurrency
    return round(max(work_s, events / rate if rate else 0.0), 1)
