"""`inorder dlq replay`."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from inorder.cli.codes import Exit
from inorder.cli.dlq.asking import (
    COUNTED,
    DEFAULT_STORE,
    Json,
    Store,
    Who,
    Why,
    Yes,
    ask_reason,
    check_terminal,
    confirm,
)
from inorder.cli.dlq.asking import open_for_plan as open_plan
from inorder.cli.dlq.words import count, cut, print_json, print_table, rate, takes
from inorder.cli.stopping import Stopping
from inorder.deadletters.driver import Options
from inorder.deadletters.planning import estimated_s, rehearse_again
from inorder.deadletters.rehearsal import Rehearsed
from inorder.deadletters.replay import Controls, run_plan
from inorder.deadletters.results import MEANING, Result, Summary, Sums, sums
from inorder.deadletters.road import Tried
from inorder.deadletters.who import who
from inorder.declaration import declaration_of
from inorder.observe.log import log_to_stderr
from inorder.stores.letter_rows import PlanLetter, PlanRow
from inorder.wiring import open_lag
from inorder.worker.blame import code_version
from inorder.worker.loading import load_consumer

log = logging.getLogger("inorder.replay")

AtLeastOne = Number(gte=1)
SHOWN = 20
"""Letters that failed, as shown to people. JSON has all that were tried."""
EVERY_S = 5.0
"""How often progress is told."""


@Parameter(name="*")
@dataclass(frozen=True)
class Pacing:
    """How fast, and when to stop."""

    rate: Annotated[str | None, Parameter(help="At most so many events: 50/s, 600/m, 1000/h")] = None
    canary: Annotated[
        int, Parameter(validator=Number(gte=0), help="Keys that go first; if one fails, the rest is not tried")
    ] = 0
    concurrency: Annotated[int, Parameter(validator=AtLeastOne, help="Keys at once, one event of each")] = 1
    max_failures: Annotated[
        int | None, Parameter(validator=AtLeastOne, help="Stop after so many letters that fail")
    ] = None
    yield_to: Annotated[str | None, Parameter(help="The live stream's URL: stand still while it lags behind")] = None
    max_lag: Annotated[int, Parameter(validator=Number(gte=0), help="Events it may lag behind")] = 1_000


def replay(
    plan: Annotated[int, Parameter(validator=COUNTED, help="The number of a plan")],
    /,
    *,
    store: Store = DEFAULT_STORE,
    reason: Why = None,
    yes: Yes = False,
    pacing: Pacing | None = None,
    dry_run: Annotated[
        bool, Parameter(negative=(), show_default=False, help="Rehearse what is left once more; change nothing")
    ] = False,
    consumer: Annotated[
        str | None, Parameter(show_default=False, help="MODULE:NAME, if it has moved since the plan was made")
    ] = None,
    by: Who = None,
    as_json: Json = False,
) -> int:
    """Run a plan: each letter through guard and handler, then what waits behind it.

    One transaction a letter: effect, version, letter and audit together. Of one
    key, letters go in the order of their versions, one at a time. Ctrl-C ends it
    after the event at hand; run it again to go on where it stopped, or to try
    once more what failed. Nothing is sent to the source again.

    Exit code 5: some letters failed or were not tried; the report says which.
    """
    pacing = pacing or Pacing()
    if not dry_run:
        check_terminal(yes, reason)
    pace = rate(pacing.rate)
    made, before = _look(store, plan)
    function = load_consumer(consumer or made.handler)
    if dry_run:
        with contextlib.redirect_stdout(sys.stderr):
            rehearsed = rehearse_again(function, store, plan)
        return _print_rehearsal(plan, rehearsed, as_json)
    log_to_stderr("info", "")
    if made.code_version != code_version(function):
        log.warning("the code is not what the plan was rehearsed with: --dry-run rehearses it again")
    why = ask_reason(reason)
    left = before.pending + before.failed
    confirm(_question(plan, left, made, pace, pacing.concurrency), yes)
    options = Options(
        rate=pace,
        canary=pacing.canary,
        concurrency=pacing.concurrency,
        max_failures=pacing.max_failures,
        max_lag=pacing.max_lag,
    )
    progress = _Progress(left)
    declared = declaration_of(function)
    lag = None if pacing.yield_to is None else open_lag(pacing.yield_to, declared.name)
    controls = Controls(stop=threading.Event(), lag=lag, tell=progress.tell)
    with (
        contextlib.redirect_stdout(sys.stderr),
        Stopping(controls.stop.set, declared.limits.handler_s + 10.0) as stopping,
    ):
        found = run_plan(function, store, plan, reason=why, actor=by or who(), options=options, controls=controls)
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        _print(found, store)
    if stopping.interrupted:
        return Exit.INTERRUPTED
    return Exit.PARTIAL if found.sums.failed or found.sums.pending else Exit.OK


def _look(store: str, number: int) -> tuple[PlanRow, Sums]:
    look = open_plan(store, number)
    try:
        return look.plan(number), sums(look.plan_results(number))
    finally:
        look.close()


def _question(plan: int, left: int, made: PlanRow, pace: float | None, concurrency: int) -> str:
    events = left + made.held
    long = takes(estimated_s(events, made.event_s, pace, concurrency))
    behind = f" and {count(made.held, 'event')} behind them" if made.held else ""
    return f"Plan {plan}: replay {count(left, 'letter')}{behind} with {made.handler}, {long}?"


class _Progress:
    """Tells on standard error how far a replay is."""

    def __init__(self, letters: int) -> None:
        self._letters = letters
        self._results: Counter[str] = Counter()
        self._began = self._told = time.monotonic()
        self._lock = threading.Lock()

    def tell(self, letter: PlanLetter, tried: Tried) -> None:
        """A letter was tried."""
        with self._lock:
            self._results[str(tried.result)] += 1
            if not tried.result.final:
                log.warning("letter %d, key %s: %s: %s", letter.letter, tried.key, tried.result, cut(tried.detail, 200))
            now = time.monotonic()
            if now - self._told < EVERY_S:
                return
            self._told = now
            done = self._results.total()
            said = ", ".join(f"{number:,} {name}" for name, number in self._results.items())
            log.info("%d of %d letters, %.0f/s: %s", done, self._letters, done / (now - self._began), said)


def _print(found: Summary, store: str) -> None:
    total = found.sums
    print(f"plan {found.plan} of stream {found.stream}, {found.elapsed_s:.1f} s")
    if found.stopped:
        print(f"stopped early: {found.stopped}")
    print()
    rows = [
        *((name, f"{number:,}", MEANING[Result(name)]) for name, number in total.results.items()),
    ]
    if total.pending:
        rows.append(("pending", f"{total.pending:,}", "not tried yet: run the plan again"))
    print_table(("result", "letters", ""), rows, right=(1,))
    print(
        f"\n{total.selected:,} selected = {total.applied:,} applied + {total.duplicate:,} duplicate"
        f" + {total.skipped:,} skipped + {total.failed:,} failed"
        + (f" + {total.pending:,} pending" if total.pending else "")
    )
    drained = {name: number for name, number in msgspec.structs.asdict(found.drained).items() if number}
    if drained:
        print("events that waited behind them: " + ", ".join(f"{number:,} {name}" for name, number in drained.items()))
    failed = [one for one in found.letters if not Result(one["result"]).final]
    if failed:
        print()
        _print_letters(failed[:SHOWN])
        if len(failed) > SHOWN:
            print(f"… and {len(failed) - SHOWN:,} more; --json has all")


def _print_letters(letters: list[dict[str, Any]]) -> None:
    rows = [
        (
            str(one["letter"]),
            "(unreadable)" if one["key"] is None else cut(one["key"], 40),
            "" if one["version"] is None else str(one["version"]),
            one["result"],
            cut(one["detail"], 70),
        )
        for one in letters
    ]
    print_table(("id", "key", "version", "result", "detail"), rows, right=(0, 2))


def _print_rehearsal(plan: int, found: Rehearsed, as_json: bool) -> int:
    letters = [
        {
            "letter": one.letter,
            "key": one.key,
            "version": one.version,
            "result": one.forecast,
            "detail": one.forecast_detail or "",
        }
        for one in found.letters
    ]
    behind = {"behind_rehearsed": found.behind, "behind_failing": found.behind_failing}
    if as_json:
        print_json({"plan": plan, "dry_run": True, "letters": letters, **behind})
        return Exit.OK
    if letters:
        _print_letters(letters[:SHOWN])
    print("\nPLAN ONLY, nothing changed." if letters else "nothing is left to do of this plan")
    return Exit.OK
