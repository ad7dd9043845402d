"""Three brokers under load, and what befalls them: nothing acknowledged is lost, nothing takes effect twice, in order.

One cluster and one load for all; each test breaks something, sees every account go on meanwhile, and looks at the
whole history. The times are printed (`-rP`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.faults.siege import BROKERS, FROZEN_S, Siege
from tests.faults.verdict import Verdict
from tests.services import KafkaCluster

# Each waits for brokers to start and for replicas to catch up, several times over, on two processors.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def siege(kafka_three: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    with Siege(kafka_three, tmp_path_factory.mktemp("siege"), seed=3) as made:
        yield made


@pytest.fixture(autouse=True)
def _the_same_comes_out(siege: Siege) -> Iterator[None]:
    """After each test."""
    yield
    assert siege.verdict() == Verdict()
    siege.load.go_on()


def report(siege: Siege, what: str) -> None:
    print(f"{what}: every account went on after {siege.resumes(what):.1f} s")


def test_a_leader_is_killed(siege: Siege) -> None:
    leader = siege.leader()
    with siege.killed(leader):
        report(siege, f"broker {leader} killed")
        assert siege.leader() != leader


def test_a_broker_hangs(siege: Siege) -> None:
    leader = siege.leader()
    with siege.paused(leader):
        report(siege, f"broker {leader} hangs")


def test_a_worker_is_cut_off_from_all_brokers(siege: Siege) -> None:
    with siege.severed():
        report(siege, "a worker cut off")
        time.sleep(FROZEN_S / 2)  # it has something in hand that is not its own any more
    siege.resumes("it is back")


def test_all_three_are_rolled(siege: Siege) -> None:
    for broker in range(BROKERS):
        siege.roll(broker)
        report(siege, f"broker {broker} rolled")
