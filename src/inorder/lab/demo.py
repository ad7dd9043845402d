"""`inorder demo` as an experiment: runs the contest, and compares what both consumers made of it with the truth.

It decides nothing about what is shown.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from inorder.core.order import Outcome
from inorder.errors import InorderError
from inorder.lab import oracle
from inorder.lab.accounts import Account, Entry, entries, post
from inorder.lab.caught import Caught, caught
from inorder.lab.contest import Audience, Contest
from inorder.lab.disorder import Class, Script, script
from inorder.lab.flight import Moment, moment, peak
from inorder.lab.timeline import States, Timeline, timeline

SHOWN_FLIGHTS = 8
SHOWN_STEPS = 8
REPLAYED = "replayed"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What `inorder demo` takes. `order` is for the negative control."""

    seed: int = 42
    events: int = 20_000
    entities: int = 500
    workers: int = 4
    order: str = "strict"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to. Wrong entities are those whose final state is not the true one."""

    options: Options
    script: Script
    partitions: tuple[int, int]
    present: int
    """How many entities have events."""
    disorder: Mapping[Class, int]
    """How much of each class: events, workers for what befalls workers, entities that moved for growth."""
    caught: Caught
    delivered: int
    outcomes: Mapping[str, int]
    """What became of each delivery in the end: their sum is `delivered`."""
    waited: int
    """Deliveries that were held or parked before that."""
    peak_in_flight: int
    naive_effects: int
    inorder_effects: int
    """How often an event took effect, replays included."""
    naive_wrong: list[str]
    inorder_wrong: list[str]
    moment: Moment | None
    timeline: Timeline | None
    elapsed_s: float
    kept: Path | None
    """Where everything is, if inorder's state is wrong."""

    def document(self) -> dict[str, object]:
        """The document of `--json`."""
        return {
            "seed": self.options.seed,
            "events": self.options.events,
            "entities": self.options.entities,
            "workers": self.options.workers,
            "delivered": self.delivered,
            "peak_in_flight": self.peak_in_flight,
            "disorder": self.disorder,
            "naive": {"wrong_entities": len(self.naive_wrong), "effects": self.naive_effects},
            "inorder": {
                "wrong_entities": len(self.inorder_wrong),
                "outcomes": self.outcomes,
                "waited": self.waited,
                "effects": self.inorder_effects,
            },
            "caught_by": self.caught,
            "elapsed_s": self.elapsed_s,
        }


def run(options: Options, audience: Audience) -> Result:
    """Run it, from an empty folder to the comparison. Raises `InorderError` when a part of it fails."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="inorder-demo-"))
    keep = False
    try:
        stream = entries(options.seed, options.events, options.entities)
        plan = script(options.seed, options.events)
        contest = Contest(folder, stream, plan, options.workers, audience, options.order)
        contest.run()
        result = _compare(options, stream, plan, contest, began)
        keep = bool(result.inorder_wrong)
        return msgspec.structs.replace(result, kept=folder) if keep else result
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _compare(options: Options, stream: list[Entry], plan: Script, contest: Contest, began: float) -> Result:
    truth: dict[str, Account] = oracle.states(stream, lambda entry: entry.account, post)
    states = States(naive=contest.naive_states(), inorder=contest.inorder_states(), truth=truth)
    naive_wrong, inorder_wrong = oracle.wrong(states.naive, truth), oracle.wrong(states.inorder, truth)
    naive, ours = contest.history("naive"), contest.history("inorder")
    settled = ours.settled
    fates = {(met.worker, met.life): fate for fate, met in contest.fates.items()}
    found = caught(ours, contest.deliveries, fates)
    counts = contest.counts()
    outcomes = {name: counts.get(name, 0) for name in (*map(str, Outcome), REPLAYED)}
    delivered = counts.get("received", 0)
    if sum(outcomes.values()) != delivered:
        raise InorderError(f"{delivered} deliveries came to {sum(outcomes.values())} outcomes: {outcomes}")
    return Result(
        options=options,
        script=plan,
        partitions=contest.partitions,
        present=len(truth),
        disorder=_disorder(stream, plan, contest) | {why: sum(found[why].values()) for why in _NOT_INJECTED},
        caught=found,
        delivered=delivered,
        outcomes=outcomes,
        waited=counts.get("early", 0),
        peak_in_flight=peak(settled),
        naive_effects=sum(one.outcome == "applied" for one in naive.receipts) + contest.naive_replayed,
        inorder_effects=outcomes[Outcome.APPLIED] + outcomes[REPLAYED],
        naive_wrong=naive_wrong,
        inorder_wrong=inorder_wrong,
        moment=moment(settled, SHOWN_FLIGHTS),
        timeline=timeline(naive, ours, inorder_wrong or naive_wrong, states, SHOWN_STEPS),
        elapsed_s=round(time.monotonic() - began, 2),
        kept=None,
    )


_NOT_INJECTED = (Class.OVERLAP, Class.REBALANCE)


def _disorder(stream: list[Entry], plan: Script, contest: Contest) -> dict[Class, int]:
    """How much was injected of each class."""
    homes: dict[str, set[int]] = {}
    for one in contest.deliveries:
        homes.setdefault(stream[one.event].account, set()).add(one.partition)
    return {
        Class.RETRY: plan.count(Class.RETRY),
        Class.DUPLICATE: plan.count(Class.DUPLICATE),
        Class.LATE: plan.count(Class.LATE),
        Class.KILL: int(Class.KILL in contest.fates),
        Class.FREEZE: int(Class.FREEZE in contest.fates),
        Class.GROWTH: sum(len(partitions) > 1 for partitions in homes.values()),
        Class.POISON: sum(entry.kind == "refund" for entry in stream),
    }
