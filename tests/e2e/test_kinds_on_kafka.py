"""Every kind of handler on a real Kafka: disorder, duplicates, kills, rebalances, growth. And the naive consumer."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.accounts import Disorder
from tests.e2e.crew import Crew, Topic, until
from tests.services import KafkaCluster


@pytest.fixture
def crews() -> Iterator[list[Crew]]:
    """The crews of a test. Whoever of them is still there afterwards is killed."""
    found: list[Crew] = []
    yield found
    for crew in found:
        crew.close()


def in_order(crew: Crew) -> dict[str, list[int]]:
    """The histories; of handlers without `tx`, whose effects may be repeated, each version at its first time."""
    histories = crew.histories()
    if crew.kind != "call":
        return histories
    return {account: list(dict.fromkeys(versions)) for account, versions in histories.items()}


@pytest.mark.parametrize(
    ("protocol", "kinds"),
    [("cooperative", ["tx", "naive"]), ("kip848", ["tx"]), ("cooperative", ["call"]), ("kip848", ["call"])],
)
def test_a_kill_a_restart_a_guest_and_a_growing_topic(
    kafka: KafkaCluster, tmp_path: Path, crews: list[Crew], protocol: str, kinds: list[str]
) -> None:
    stream = Disorder(accounts=12, each=40, seed=5)
    topic = Topic(kafka, partitions=4)
    crews += [Crew(topic, protocol, kind, tmp_path) for kind in kinds]
    topic.produce(stream, 0, of=3)
    firsts = [[crew.start(), crew.start()] for crew in crews]
    until("they are at work", lambda: all(crew.done() > 40 for crew in crews))
    for crew, (victim, _) in zip(crews, firsts, strict=True):
        crew.kill(victim)
        crew.start()
    topic.produce(stream, 1, of=3)
    guests = [crew.start() for crew in crews]
    topic.grow(6)
    topic.produce(stream, 2, of=3)
    until("they got further", lambda: all(crew.done() > 200 for crew in crews))
    for crew, guest in zip(crews, guests, strict=True):
        crew.stop(guest)
    until("all is settled", lambda: all(crew.settled() for crew in crews))
    for crew in crews:
        if crew.kind == "naive":
            wrong = [name for name in stream.names if crew.balances()[name] != stream.balances[name]]
            assert len(wrong) > 6
            assert crew.histories() != stream.histories
            continue
        assert in_order(crew) == stream.histories
        if crew.kind == "tx":
            assert crew.balances() == stream.balances
        crew.check_counts(stream.count)
        assert crew.counts()["applied"] == 12 * 40


@pytest.mark.parametrize("protocol", ["cooperative", "kip848"])
def test_a_worker_frozen_past_its_session_comes_back_beside_its_successor(
    kafka: KafkaCluster, tmp_path: Path, crews: list[Crew], protocol: str
) -> None:
    stream = Disorder(accounts=12, each=30, seed=6)
    topic = Topic(kafka, partitions=4)
    crew = Crew(topic, protocol, "fold", tmp_path)
    crews.append(crew)
    topic.produce(stream, 0, of=3)
    zombie, other = crew.start(), crew.start()
    until("they are at work", lambda: crew.done() > 40)
    crew.ask_to_freeze(zombie)
    topic.produce(stream, 1, of=3)
    until("it is frozen", lambda: crew.frozen(zombie))
    until("the other one has done it all", crew.committed)
    os.kill(zombie.pid, signal.SIGCONT)
    topic.produce(stream, 2, of=3)
    until("all is settled", crew.settled)
    crew.stop(other)
    crew.stop(zombie)
    assert crew.histories() == stream.histories
    assert crew.balances() == stream.balances
    crew.check_counts(stream.count)
    assert crew.counts()["applied"] == 12 * 30
