"""Replays dead letters from Python: `replay(balance, "sqlite:///inorder.db", keys=["acct-7"])`.

It makes a plan and runs it, as the command does. Nothing is ever sent to the source again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from inorder.deadletters.call_road import CallRoad
from inorder.deadletters.driver import Driver, Lane, Options
from inorder.deadletters.pace import Pace
from inorder.deadletters.plan import chosen_by, freeze, open_declared, select
from inorder.deadletters.results import Result, Summary, sums
from inorder.deadletters.road import BatchRoad, Road, Tried, Warrant
from inorder.deadletters.who import who
from inorder.declaration import Declaration, Kind, declaration_of
from inorder.errors import NotFound
from inorder.ports import Clock
from inorder.stores.letter_rows import PlanLetter, PlanRow
from inorder.worker.assemble import SystemClock, planner_for
from inorder.worker.blame import code_version


def replay(
    function: Callable[..., Any],
    store: str,
    *,
    keys: Collection[str] | None = None,
    ids: Collection[int] | None = None,
    reason: str = "replayed by a program",
    actor: str | None = None,
    options: Options | None = None,
) -> Summary:
    """Put open dead letters of a consumer through its guard and its handler again, and then what waits behind them.

    `store` is a URL; `keys` and `ids` choose among the letters (all that are open by default). Each letter is one
    transaction, with its effect, its place in the plan and its line in the audit. Of a key, letters go in the order
    of their versions. May run beside live workers, and again after a crash.
    """
    declared = declaration_of(function)
    actor = actor or who()
    look = open_declared(store, declared)
    try:
        letters = select(look, declared, keys=keys, ids=ids)
        draft = PlanRow(
            handler=f"{function.__module__}:{function.__qualname__}",
            code_version=code_version(function),
            made_at=time.time(),
            actor=actor,
            reason=reason,
            selection=chosen_by(keys=keys, ids=ids),
        )
        number = freeze(look, draft, letters)
    finally:
        look.close()
    return run_plan(function, store, number, reason=reason, actor=actor, options=options)


class Controls(msgspec.Struct, frozen=True, kw_only=True):
    """What steers and hears of a replay while it runs."""

    stop: threading.Event = msgspec.field(default_factory=threading.Event)
    """Set it to end the replay after the event at hand."""
    lag: Callable[[], int] | None = None
    """How many events the live stream is behind."""
    tell: Callable[[PlanLetter, Tried], None] = lambda letter, tried: None
    """Hears of each letter, in any of the replay's threads."""
    clock: Clock = SystemClock()


def run_plan(
    function: Callable[..., Any],
    store: str,
    number: int,
    *,
    reason: str,
    actor: str | None = None,
    options: Options | None = None,
    controls: Controls | None = None,
) -> Summary:
    """Replay the letters of a plan that are not dealt with yet: all of it, or the rest, or once more what failed."""
    declared = declaration_of(function)
    options, controls = options or Options(), controls or Controls()
    clock, stop = controls.clock, controls.stop
    began = time.monotonic()
    look = open_declared(store, declared)
    try:
        if look.plan(number) is None:
            raise NotFound(f"stream {declared.name} has no plan {number}")
        lanes = lanes_of(look, number)
        tally = look.tally(f"replay {number}") if lanes else 0
        by = Warrant(number, actor or who(), reason, {})
        letters: list[dict[str, Any]] = []

        def told(letter: PlanLetter, tried: Tried) -> None:
            letters.append(
                {
                    "letter": letter.letter,
                    "key": tried.key,
                    "version": tried.version,
                    "result": str(tried.result),
                    "detail": tried.detail,
                }
            )
            controls.tell(letter, tried)

        driver = Driver(
            declared,
            options,
            lambda: make_road(declared, open_declared(store, declared), tally, clock, by),
            Pace(options.rate, stop, controls.lag, options.max_lag),
            stop,
            clock,
            by.claims,
            told,
        )
        driver.run(lanes)
        return Summary(
            plan=number,
            stream=declared.name,
            sums=sums(look.plan_results(number)),
            drained=driver.drained,
            stopped=driver.stopped,
            elapsed_s=round(time.monotonic() - began, 3),
            letters=letters,
        )
    finally:
        look.close()


def lanes_of(look: Any, number: int) -> list[Lane]:
    """What is left to do of a plan, by key, in the plan's order."""
    lanes: dict[Any, Lane] = {}
    for letter in look.plan_letters(number):
        if letter.result is None or not Result(letter.result).final:
            at = letter.key if letter.key is not None else letter.letter
            lanes.setdefault(at, Lane(letter.key, [])).letters.append(letter)
    return list(lanes.values())


def make_road(declared: Declaration, store: Any, tally: int, clock: Clock, by: Warrant) -> Road:
    """The road for the consumer's kind of handler. It closes the store."""
    kind = CallRoad if declared.kind is Kind.CALL else BatchRoad
    return kind(declared, planner_for(declared), store, tally, clock, by)
