"""Every experiment bears out its claims, and would not if what it is about were missing."""

from __future__ import annotations

import pytest

from inorder import UsageError
from inorder.core.entity import Entity
from inorder.core.event import Event
from inorder.core.guard import Decision, Guard
from inorder.core.order import Order
from inorder.lab.experiments import EXPERIMENTS, guards, run
from inorder.lab.results import Request, Result
from inorder.worker import assemble
from tests.services import KafkaCluster

ON_KAFKA = ("concurrency", "duplicates")


def failed(found: Result) -> list[str]:
    return [verdict.claim for verdict in found.verdicts if not verdict.holds]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_its_claims_hold(name: str) -> None:
    found = run(name, Request(seed=7, small=True))
    assert failed(found) == []
    assert found.verdicts
    assert found.tables


@pytest.mark.parametrize("name", ON_KAFKA)
def test_its_claims_hold_on_kafka(name: str, kafka: KafkaCluster) -> None:
    found = run(name, Request(seed=7, small=True, broker="kafka", kafka=kafka.bootstrap))
    assert failed(found) == []
    assert found.broker == "kafka"


@pytest.mark.parametrize(
    ("name", "claim"),
    [
        ("concurrency", "every entity's events take effect exactly once, in the order of their versions"),
        ("duplicates", "under strict order every event takes effect once"),
        ("dlq", "after its replay, beside live traffic, every account has all its events once and in order"),
        ("repartition", "inorder ends right each time, every event being the next one of its account"),
    ],
)
def test_without_the_guard_a_claim_fails(name: str, claim: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assemble, "Guard", lambda order, baseline: Guard(Order.UNGUARDED, baseline))
    assert claim in failed(run(name, Request(seed=7, small=True)))


def test_a_guard_that_takes_newer_for_next_is_not_safe_for_what_strict_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Newer(Guard):
        def decide(self, entity: Entity, event: Event) -> Decision:
            found = super().decide(entity, event)
            return Decision.APPLY if found is Decision.HOLD else found

    monkeypatch.setattr(guards, "Guard", Newer)
    assert "strict is safe for all of these operations" in failed(run("guards", Request(seed=7, small=True)))


def test_a_broker_that_is_not_given_is_asked_for() -> None:
    with pytest.raises(UsageError, match="add --kafka HOST:PORT"):
        run("concurrency", Request(broker="kafka"))
