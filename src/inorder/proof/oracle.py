"""Judges traces: every anomaly is valid, invalid or unknown, and what could not be checked is never a pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from inorder.core.words import describe
from inorder.proof.anomalies import ANOMALIES, Anomaly, Oracle
from inorder.proof.history import History
from inorder.proof.trace import Op, Rules, Step, Trace


class Verdict(StrEnum):
    """What a checker says of a whole trace."""

    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"


class Finding(msgspec.Struct, frozen=True):
    """An anomaly in a trace. `at` is the index of the step that shows it."""

    anomaly: str
    name: str
    why: str
    at: int


class Judgement(msgspec.Struct):
    """The verdict on every anomaly that was looked for."""

    verdicts: dict[str, Verdict]
    findings: list[Finding]
    """One for each anomaly that is there, those that show first in front."""
    unknown: dict[str, str]
    """Why a verdict is unknown."""

    @property
    def verdict(self) -> Verdict:
        """The verdict on all: invalid if one is, else unknown if one is."""
        if self.findings:
            return Verdict.INVALID
        return Verdict.UNKNOWN if self.unknown else Verdict.VALID


class Judge:
    """Looks at a trace while it comes about, step by step. A checker that crashed is not asked again."""

    def __init__(self, rules: Rules, oracle: Oracle | None = None, anomalies: Iterable[Anomaly] | None = None) -> None:
        self.history = History(rules)
        self.findings: dict[str, Finding] = {}
        self.unknown: dict[str, str] = {}
        self.seen = 0
        self._oracle = oracle
        self._asked = list(ANOMALIES.values() if anomalies is None else anomalies)
        self._by_op: dict[Op, list[Anomaly]] = {op: [] for op in Op}
        for one in self._asked:
            missing = one.missing(rules.records)
            if missing:
                self.unknown[one.id] = f"the trace does not record: {', '.join(missing)}"
            elif one.asks_oracle and oracle is None:
                self.unknown[one.id] = "there is no oracle to say what the state is to be"
            else:
                for op in one.on:
                    self._by_op[op].append(one)

    def see(self, step: Step) -> list[Finding]:
        """Add a step. Returns what is wrong with it."""
        found: list[Finding] = []
        history, oracle = self.history, self._oracle
        for one in self._by_op[step.op]:
            try:
                why = one.check(history, step, oracle)
            except Exception as error:
                self._give_up([one], f"its checker crashed: {describe(error)}")
                continue
            if why is not None:
                found.append(Finding(one.id, one.name, why, self.seen))
                self.findings.setdefault(one.id, found[-1])
        try:
            history.see(step)
        except Exception as error:
            self._give_up(self._asked, f"step {self.seen} of the trace is not whole: {describe(error)}")
        self.seen += 1
        return found

    def _give_up(self, anomalies: list[Anomaly], why: str) -> None:
        """These are not asked again. What copies of this judge ask is their own."""
        for one in anomalies:
            self.unknown.setdefault(one.id, why)
        self._by_op = {op: [one for one in asked if one not in anomalies] for op, asked in self._by_op.items()}

    def unknown_here(self) -> dict[str, str]:
        """The checkers that crashed, or could not go on."""
        return {id: why for id, why in self.unknown.items() if "crashed" in why or "not whole" in why}

    def judgement(self) -> Judgement:
        """The verdicts on what was seen so far."""
        unknown = dict(self.unknown)
        rested = self.history.last is not None and self.history.last.op is Op.REST
        for one in self._asked:
            if Op.REST in one.on and not rested and one.id not in self.findings:
                unknown.setdefault(one.id, "the trace does not end at rest")
        findings = sorted(self.findings.values(), key=lambda one: one.at)
        unknown = {id: why for id, why in unknown.items() if id not in self.findings}
        verdicts = {
            one.id: Verdict.INVALID
            if one.id in self.findings
            else Verdict.UNKNOWN
            if one.id in unknown
            else Verdict.VALID
            for one in self._asked
        }
        return Judgement(verdicts, findings, unknown)

    def copy(self) -> Judge:
        """A judge that has seen the same, and goes on by itself."""
        twin = Judge.__new__(Judge)
        vars(twin).update(vars(self))
        twin.history = self.history.copy()
        twin.findings, twin.unknown = dict(self.findings), dict(self.unknown)
        return twin


def judge(trace: Trace, oracle: Oracle | None = None) -> Judgement:
    """The verdict on every anomaly, over a whole trace."""
    seen = Judge(trace.rules, oracle)
    for step in trace.steps:
        seen.see(step)
    return seen.judgement()


class FoldOracle:
    """The in-order, once-only fold of a pure function. `payloads` are by key, version and event id."""

    def __init__(
        self,
        function: Callable[[Any, Any], Any],
        payloads: Mapping[tuple[str, int, str], Any],
        text: Callable[[Any], str | None],
    ) -> None:
        self._function = function
        self._payloads = payloads
        self._text = text

    def state_after(self, key: str, effects: Sequence[tuple[int, str]]) -> str | None:
        """The state of a key after these effects in this sequence, as text."""
        state: Any = None
        for version, event_id in effects:
            state = self._function(state, self._payloads[key, version, event_id])
        return self._text(state)


class LedgerOracle:
    """For states that are the list of their effects, as simulations keep them: nothing cancels out in them."""

    def state_after(self, key: str, effects: Sequence[tuple[int, str]]) -> str | None:
        """The list of versions and event ids, as JSON; None where there is none."""
        return msgspec.json.encode(list(effects)).decode() if effects else None
