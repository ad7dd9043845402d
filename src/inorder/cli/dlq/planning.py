"""`inorder dlq plan`."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from inorder.cli.codes import Exit
from inorder.cli.dlq.asking import COUNTED, DEFAULT_STORE, Json, Store, Who, check_key
from inorder.cli.dlq.listing import Reasons, Since
from inorder.cli.dlq.words import count, cut, print_json, print_table, rate, since, stamp, takes
from inorder.core.order import Order
from inorder.deadletters.plan import MOST
from inorder.deadletters.planning import Choice, Made, estimated_s, make_plan
from inorder.deadletters.results import FORECAST, Result
from inorder.deadletters.who import who
from inorder.declaration import declaration_of
from inorder.worker.loading import load_consumer

SHOWN = 20
"""Letters that are shown to people, those that need attention first. JSON has all."""


@Parameter(name="*")
@dataclass(frozen=True)
class Chosen:
    """Which open letters are meant."""

    key: Annotated[
        list[str] | None, Parameter(negative=(), validator=check_key, help="Only these keys; may be repeated")
    ] = None
    id: Annotated[
        list[int] | None, Parameter(negative=(), validator=COUNTED, help="Only these letters; may be repeated")
    ] = None
    reason: Annotated[Reasons | None, Parameter(help="Only those given up on for this reason")] = None
    since: Since = None
    limit: Annotated[int, Parameter(validator=Number(gte=1), show_default=False, help="Most letters")] = MOST


def plan(
    consumer: Annotated[str, Parameter(help="MODULE:NAME of the consumer that is to handle them (bank.py:balance)")],
    /,
    *,
    store: Store = DEFAULT_STORE,
    chosen: Chosen | None = None,
    rehearse: Annotated[
        bool, Parameter("--dry-run", help="Try each event in a transaction that is rolled back")
    ] = True,
    rate_: Annotated[str | None, Parameter("--rate", help="For the estimate: 50/s, 600/m, 1000/h")] = None,
    by: Who = None,
    as_json: Json = False,
) -> int:
    """Choose open letters, rehearse their replay, and freeze it as a plan.

    Nothing changes but that there is a plan. It names the exact letters, in the
    order of their replay. The rehearsal says what would become of each.
    """
    pace = rate(rate_)
    function = load_consumer(consumer)
    chosen = chosen or Chosen()
    choice = Choice(
        keys=chosen.key,
        ids=chosen.id,
        reason=chosen.reason,
        since=since(chosen.since, time.time()),
        most=chosen.limit,
    )
    with contextlib.redirect_stdout(sys.stderr):
        made = make_plan(function, store, choice, handler=consumer, actor=by or who(), rehearse=rehearse)
    if made is None:
        if as_json:
            print_json({"plan": None, "letters": []})
        else:
            print("no open letter matches; no plan was made")
        return Exit.NOT_FOUND
    document = describe(made, pace)
    if as_json:
        print_json(document)
    else:
        _print(document, made, declaration_of(function).order, store)
    return Exit.OK


def describe(made: Made, pace: float | None) -> dict[str, Any]:
    """A plan as JSON."""
    forecast: dict[str, int] = {}
    for letter in made.letters:
        if letter.forecast is not None:
            forecast[letter.forecast] = forecast.get(letter.forecast, 0) + 1
    rehearsed = made.rehearsed
    return {
        "plan": made.plan.id,
        "handler": made.plan.handler,
        "code_version": made.plan.code_version,
        "made_at": stamp(made.plan.made_at),
        "by": made.plan.actor,
        "letters": len(made.letters),
        "keys": len({letter.key if letter.key is not None else letter.letter for letter in made.letters}),
        "behind": made.plan.held,
        "estimated_s": estimated_s(len(made.letters) + made.plan.held, made.plan.event_s, pace),
        "rehearsed": rehearsed is not None,
        "forecast": forecast,
        "behind_rehearsed": 0 if rehearsed is None else rehearsed.behind,
        "behind_failing": 0 if rehearsed is None else rehearsed.behind_failing,
        "order": [
            {
                "letter": letter.letter,
                "key": letter.key,
                "version": letter.version,
                "forecast": letter.forecast,
                "detail": letter.forecast_detail,
            }
            for letter in made.letters
        ],
    }


def _print(found: dict[str, Any], made: Made, order: Order, store: str) -> None:
    letters, keys = count(found["letters"], "letter"), count(found["keys"], "key")
    print(f"plan {found['plan']}: {letters} of {keys}, {count(found['behind'], 'event')} waiting behind them")
    print(f"consumer {found['handler']}, order {order}, {takes(found['estimated_s'])}")
    print()
    if not found["rehearsed"]:
        print("not rehearsed")
    else:
        rows = [(name, f"{number:,}", FORECAST[Result(name)]) for name, number in sorted(found["forecast"].items())]
        print_table(("forecast", "letters", ""), rows, right=(1,))
        if found["behind_rehearsed"]:
            failing = found["behind_failing"]
            said = "none of them fails" if not failing else f"{failing:,} would fail and park its key again"
            print(f"\n{count(found['behind_rehearsed'], 'event')} behind them rehearsed: {said}")
    first = sorted(made.letters, key=lambda one: (one.forecast == Result.APPLIED, one.place))[:SHOWN]
    print()
    shown = [
        (
            str(one.letter),
            "(unreadable)" if one.key is None else cut(one.key, 40),
            "" if one.version is None else str(one.version),
            one.forecast or "",
            cut(one.forecast_detail or "", 70),
        )
        for one in first
    ]
    print_table(("id", "key", "version", "forecast", "detail"), shown, right=(0, 2))
    if len(made.letters) > len(first):
        print(f"… and {len(made.letters) - len(first):,} more; --json has all")
    where = "" if store == DEFAULT_STORE else f" --store {store}"
    if found["rehearsed"] and not any(Result(name).final for name in found["forecast"]):
        print("\nPLAN ONLY, nothing changed. A replay would mend nothing as things are: mend the cause, plan again.")
        return
    print(f'\nPLAN ONLY, nothing changed. To run it: inorder dlq replay {found["plan"]}{where} --reason "why"')
