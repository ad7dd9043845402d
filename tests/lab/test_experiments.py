"""Every experiment bears out its claims, and would not if what it is about were missing."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from inorder import UsageError
from inorder.core.entity import Entity
from inorder.core.event import Event
from inorder.core.guard import Decision, Guard
from inorder.core.limits import Limits
from inorder.core.order import Order
from inorder.core.planner import Planner
from inorder.core.retry import ErrorClass, Retry
from inorder.lab import report
from inorder.lab.experiments import EXPERIMENTS, NEEDS, guards, run
from inorder.lab.results import Request, Result
from inorder.worker import assemble
from tests.lab.structure import structure
from tests.services import ElasticMQ, KafkaCluster

Classify = Callable[[BaseException], ErrorClass]
ON_KAFKA = ("concurrency", "duplicates")
"""Of those that run there; all do for the write-up."""
ALONE = sorted(EXPERIMENTS.keys() - NEEDS)
pytestmark = pytest.mark.timeout(300)
RESULTS = Path(__file__).resolve().parent.parent.parent / "docs" / "evidence"


def failed(found: Result) -> list[str]:
    return [verdict.claim for verdict in found.verdicts if not verdict.holds]


@cache
def small(name: str, kafka: str | None = None, sqs: str | None = None) -> Result:
    return run(name, Request(seed=7, small=True, kafka=kafka, sqs=sqs))


def committed(name: str) -> Result:
    return report.read(RESULTS / name)


@pytest.mark.parametrize("name", ALONE)
def test_its_claims_hold(name: str) -> None:
    found = small(name)
    assert failed(found) == []
    assert found.verdicts
    assert found.tables


@pytest.mark.parametrize("name", ALONE)
def test_the_committed_result_is_of_this_experiment(name: str) -> None:
    assert structure(committed(name)) == structure(small(name))


@pytest.mark.parametrize("name", sorted(NEEDS))
def test_what_compares_brokers_does_so(name: str, kafka: KafkaCluster, sqs: ElasticMQ) -> None:
    found = small(name, kafka.bootstrap, sqs.endpoint)
    assert structure(committed(name)) == structure(found)
    if name == "ceiling":  # its claims are about speed, which is for `make evidence` to measure
        assert all(float(cell) > 0 for row in found.tables[0].rows for cell in row[1:])
    else:
        assert failed(found) == []


def test_its_claims_hold_on_sqs(sqs: ElasticMQ) -> None:
    assert failed(run("concurrency", Request(seed=7, small=True, broker="sqs", sqs=sqs.endpoint))) == []


def test_a_broker_on_which_it_does_not_run_is_refused() -> None:
    with pytest.raises(UsageError, match="guards runs on embedded: leave out --broker kafka"):
        run("guards", Request(broker="kafka", kafka="127.0.0.1:1"))


@pytest.mark.parametrize("name", ON_KAFKA)
def test_its_claims_hold_on_kafka(name: str, kafka: KafkaCluster) -> None:
    found = run(name, Request(seed=7, small=True, broker="kafka", kafka=kafka.bootstrap))
    assert failed(found) == []
    assert found.broker == "kafka"


@pytest.mark.parametrize(
    ("name", "claim"),
    [
        ("concurrency", "every entity's events take effect in the order of their versions"),
        ("duplicates", "under strict order every event takes effect once"),
        ("repartition", "inorder ends right each time, every event being the next one of its account"),
    ],
)
def test_without_the_guard_a_claim_fails(name: str, claim: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assemble, "Guard", lambda order, baseline: Guard(Order.UNGUARDED, baseline))
    assert claim in failed(run(name, Request(seed=7, small=True)))


def test_without_guard_and_parking_a_replay_is_out_of_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(guard: Guard, retry: Retry, limits: Limits, parks: bool, classify: Classify) -> Planner:
        return Planner(Guard(Order.UNGUARDED), retry, limits, False, classify)

    monkeypatch.setattr(assemble, "Planner", careless)
    claims = failed(run("dlq", Request(seed=7, small=True)))
    assert "after its replay, beside live traffic, every account has all its events once and in order" in claims
    assert "inorder parks the accounts with a letter, and what comes behind it waits" in claims


def test_a_guard_that_takes_newer_for_next_is_not_safe_for_what_strict_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Newer(Guard):
        def decide(self, entity: Entity, event: Event) -> Decision:
            found = super().decide(entity, event)
            return Decision.APPLY if found is Decision.HOLD else found

    monkeypatch.setattr(guards, "Guard", Newer)
    assert "strict is safe for all of these operations" in failed(run("guards", Request(seed=7, small=True)))


@pytest.mark.parametrize(
    ("name", "request_", "says"),
    [
        ("concurrency", Request(broker="kafka"), "add --kafka HOST:PORT"),
        ("concurrency", Request(broker="sqs"), "add --sqs http://HOST:PORT"),
        ("ceiling", Request(kafka="127.0.0.1:1"), "add --kafka HOST:PORT and --sqs http://HOST:PORT"),
    ],
)
def test_a_broker_that_is_not_given_is_asked_for(name: str, request_: Request, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        run(name, request_)
