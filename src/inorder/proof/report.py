"""A proof in words: what was searched, what was found, and what was not proved."""

from __future__ import annotations

from collections.abc import Iterator

from inorder.core.order import Outcome
from inorder.core.rows import Counter
from inorder.proof.explaining import Anomalous
from inorder.proof.proving import Proof, Replayed

_WIDTH = 11
_NEVER = {
    Outcome.CONFLICT: "in no scope do two events claim one version",
    Outcome.LATE: "in no scope is a version skipped",
    Outcome.STALE: "under this order nothing is superfluous",
    Outcome.HELD: "under this order no event waits for another",
    Outcome.PARKED: "no key stops",
}
"""Outcomes that a proof may never see, and why."""


def lines(proof: Proof, target: str = "MODULE:NAME") -> Iterator[str]:
    """The whole report. `target` is how the consumer was named."""
    yield f"{proof.consumer}: {proof.kind}, order={proof.order}"
    yield _line("oracle", proof.oracle)
    longest = max((len(one.scope) for one in proof.scopes), default=0)
    for number, one in enumerate(proof.scopes):
        how = "stopped at the anomaly" if one.stopped else "exhausted" if one.exhausted else "not exhausted"
        times = f" with {one.payloads} sets of payloads" if one.payloads > 1 else ""
        counted = f"{one.states:>7,} states, {how} in {one.seconds:.1f} s{times}"
        yield _line("" if number else "searched", f"{one.scope:<{longest}}  {counted}")
    if proof.anomaly is not None:
        yield ""
        yield from _found(proof.anomaly, target)
        yield ""
    for number, (fault, outcomes) in enumerate(_covered(proof.covered).items()):
        yield _line("" if number else "covered", f"{fault}: {outcomes}")
    if proof.verdict == "proved":
        for number, never in enumerate(_never(proof)):
            yield _line("" if number else "not seen", never)
    for number, note in enumerate(proof.notes):
        yield _line("" if number else "noted", note)
    for number, one_of in enumerate(proof.not_proved):
        yield _line("" if number else "NOT PROVED", one_of)
    yield _verdict(proof)


def replay_lines(found: Replayed) -> Iterator[str]:
    """What a schedule came to when it was played again, step by step."""
    yield f"{found.consumer}: {'; '.join(found.schedule)}"
    yield from found.trace
    if found.finding is None:
        yield "the schedule shows no anomaly any more"
    else:
        yield f"{found.finding.anomaly} {found.finding.name}: {found.finding.why}"


def _found(found: Anomalous, target: str) -> Iterator[str]:
    yield f"{found.anomaly} {found.name}: {found.says}"
    yield _line("why", found.why)
    if found.smaller is None:
        smaller = "a smaller one may fail: the search for it took too long"
    elif found.smaller == 0:
        smaller = "no smaller schedule fails"
    else:
        smaller = f"no smaller schedule fails: all their {found.smaller:,} states were looked at"
    yield _line("schedule", smaller)
    for number, action in enumerate(found.schedule, 1):
        yield f"{'':{_WIDTH}} {number:>3}  {action}"
    for number, (place, payload) in enumerate(found.events.items()):
        yield _line("" if number else "events", f"{place}  {payload}")
    yield _line("where", f"{found.where}  {found.where.text}")
    yield _line("", found.because)
    yield _line("passes with", found.passes_with)
    yield _line("replay", f"inorder prove {target} --replay {found.token}")
    yield _line("test", "keep it from coming back:")
    yield ""
    for line in found.test.splitlines():
        yield f"    {line}" if line else ""


def _verdict(proof: Proof) -> str:
    states = sum(one.states for one in proof.scopes if one.exhausted)
    if proof.verdict == "proved":
        where = f"{states:,} states, {proof.seconds:.1f} s"
        return f"proved: no schedule of the exhausted scopes breaks {proof.consumer} ({where})"
    if proof.verdict == "unknown":
        return f"unknown: {proof.why_unknown}"
    return f"disproved: {proof.consumer} does not keep what order={proof.order} promises ({proof.seconds:.1f} s)"


def _covered(counted: dict[str, int]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for name, n in counted.items():
        fault, _, outcome = name.partition(", ")
        found.setdefault(fault, []).append(f"{outcome} {n}")
    return {fault: ", ".join(outcomes) for fault, outcomes in found.items()}


def _never(proof: Proof) -> Iterator[str]:
    """What did not come of any action, and why not."""
    faults, outcomes = zip(*(name.split(", ") for name in proof.covered), strict=True)
    if any("zombie" in one.scope for one in proof.scopes) and "zombies" not in faults:
        yield "zombies with any outcome: what a former owner decides is refused"
    for outcome, why in _NEVER.items():
        if outcome not in outcomes:
            yield f"{outcome}: {why}"
    strange = sorted({*Outcome, Counter.RETRIES, Counter.REPLAYED} - {*outcomes, *_NEVER})
    if strange:
        yield f"{', '.join(strange)}: no scope came to it"


def _line(word: str, text: str) -> str:
    return f"{word:<{_WIDTH}} {text}"
