"""Each checker tells its valid histories from its invalid ones, and says unknown where it cannot tell."""

from __future__ import annotations

import io

import msgspec
import pytest

from inorder.proof.anomalies import ANOMALIES
from inorder.proof.history import History
from inorder.proof.oracle import FoldOracle, Judge, LedgerOracle, Verdict, judge
from inorder.proof.trace import Op, Rules, Trace, timeline
from tests.proof.histories import INVALID, VALID, trace
from tests.proof.histories import History as Written

LEDGER = LedgerOracle()


def test_there_are_all_of_them() -> None:
    assert list(ANOMALIES) == [f"S{number}" for number in range(1, 23)]
    assert len({one.name for one in ANOMALIES.values()}) == len(ANOMALIES)
    assert all(one.says.endswith(".") for one in ANOMALIES.values())
    assert set(VALID) == set(INVALID) == set(ANOMALIES)


@pytest.mark.parametrize(("id", "written"), [(id, one) for id, all_of in VALID.items() for one in all_of])
def test_a_valid_history_passes(id: str, written: Written) -> None:
    found = judge(trace(written[0], **written[1]), LEDGER)
    assert found.verdicts[id] is (
        Verdict.UNKNOWN if Op.REST in ANOMALIES[id].on and "rest" not in written[0] else Verdict.VALID
    ), found


@pytest.mark.parametrize(("id", "written"), [(id, one) for id, all_of in INVALID.items() for one in all_of])
def test_an_invalid_history_is_found(id: str, written: Written) -> None:
    found = judge(trace(written[0], **written[1]), LEDGER)
    assert found.verdicts[id] is Verdict.INVALID, found
    assert found.verdict is Verdict.INVALID
    why = next(finding.why for finding in found.findings if finding.anomaly == id)
    assert why
    assert "\n" not in why


@pytest.mark.parametrize("id", ANOMALIES)
def test_what_was_not_recorded_is_unknown_and_no_pass(id: str) -> None:
    asked = ANOMALIES[id]
    for missing in [{op} for op in asked.needs] + [set(asked.on)]:
        text, rules = INVALID[id][0]
        written = trace(text, **rules)
        written.rules = msgspec.structs.replace(written.rules, records=frozenset(Op) - missing)
        found = judge(written, LEDGER)
        assert found.verdicts[id] is Verdict.UNKNOWN
        assert any(op.value in found.unknown[id] for op in missing)


@pytest.mark.parametrize("id", [id for id, one in ANOMALIES.items() if one.at_rest])
def test_a_trace_that_does_not_end_at_rest_is_unknown(id: str) -> None:
    assert judge(trace("accept a1 offset=0; apply a1"), LEDGER).verdicts[id] is Verdict.UNKNOWN


@pytest.mark.parametrize("id", ["S11", "S20"])
def test_without_an_oracle_states_are_unknown(id: str) -> None:
    text, rules = INVALID[id][0]
    assert judge(trace(text, **rules)).verdicts[id] is Verdict.UNKNOWN


def test_a_checker_that_crashes_is_unknown_and_no_pass() -> None:
    crashing = ANOMALIES["S1"]._replace(check=lambda history, step, oracle: str(1 // 0))
    seen = Judge(Rules(), None, [crashing, ANOMALIES["S3"]])
    for step in trace("apply a1; apply a2").steps:
        seen.see(step)
    found = seen.judgement()
    assert found.verdicts == {"S1": Verdict.UNKNOWN, "S3": Verdict.VALID}
    assert "ZeroDivisionError" in found.unknown["S1"]
    assert found.verdict is Verdict.UNKNOWN


def test_a_step_that_is_not_whole_makes_all_unknown() -> None:
    written = trace("apply a1")
    written.steps[0] = msgspec.structs.replace(written.steps[0], version=None)
    found = judge(written, LEDGER)
    assert set(found.verdicts.values()) == {Verdict.UNKNOWN}


def test_a_trace_is_written_and_read_back() -> None:
    written = trace("accept a1 offset=0; assign epoch=1; apply a1 epoch=1 via=replay; rest", order="latest")
    file = io.BytesIO()
    written.write(file)
    assert Trace.read(file.getvalue().splitlines()) == written
    assert len(list(timeline(written.steps))) == 4
    with pytest.raises(msgspec.ValidationError):
        Trace.read([b"{}", b'{"op":"exploded"}'])


def test_a_copy_of_a_judge_goes_on_by_itself() -> None:
    one = Judge(Rules(), LEDGER)
    for step in trace("accept a1 offset=0; hold a2; letter b1 offset=4; start c1 worker=w; apply a1").steps:
        one.see(step)
    other = one.copy()
    for step in trace("apply a1; hold a3; letter b1 offset=4; start c2 worker=w; accept a1/x offset=1").steps:
        other.see(step)
    assert one.judgement().findings == []
    assert {finding.anomaly for finding in other.judgement().findings} == {"S1", "S10", "S13"}
    assert one.history.held.keys() == {("a", 2)}
    assert one.history.claims == {("a", 1): ["a1"]}
    assert [len(of) for of in one.history.running.values()] == [1]
    for name in History.__slots__:
        value = getattr(one.history, name)
        assert not isinstance(value, dict | set | list) or value is not getattr(other.history, name)


def test_the_oracle_folds_each_event_once_in_order() -> None:
    payloads = {("a", 1, "a1"): 5, ("a", 2, "a2"): -2}
    oracle = FoldOracle(lambda state, amount: (state or 0) * 10 + amount, payloads, str)
    written = trace("accept a2 offset=0; accept a1 offset=1; accept a2 offset=2; find a what=state state=48; rest")
    assert judge(written, oracle).verdicts["S20"] is Verdict.VALID
    wrong = trace("accept a2 offset=0; accept a1 offset=1; find a what=state state=-15; rest")
    assert judge(wrong, oracle).verdicts["S20"] is Verdict.INVALID
