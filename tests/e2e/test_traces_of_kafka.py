"""What workers on a real Kafka did, written down as a trace, goes through the same checkers as every simulation."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Consumer, TopicPartition

from inorder.core.event import Partition
from inorder.declaration import declaration_of
from inorder.proof.oracle import FoldOracle, Judgement, judge
from inorder.proof.system import rules_of
from inorder.proof.trace import Op, Step, Trace
from inorder.stores.sqlite import SqliteStore
from tests.e2e.accounts import Account, Disorder, Entry, consumer
from tests.e2e.crew import PATIENCE_S, Crew, Topic, until
from tests.services import KafkaCluster


class Recorded(Crew):
    """Workers that write their own trace."""

    module = "tests.e2e.recorded"


@pytest.fixture
def crews() -> Iterator[list[Crew]]:
    found: list[Crew] = []
    yield found
    for crew in found:
        crew.close()


def accepted(topic: Topic) -> tuple[list[Step], dict[tuple[str, int, str], Entry]]:
    """What the broker keeps, and the entries by their names."""
    client = Consumer({"bootstrap.servers": topic.kafka.bootstrap, "group.id": "reader", "log_level": 0})
    steps, entries = [], {}
    for number in range(topic.partitions):
        place = TopicPartition(topic.name, number, 0)
        end = client.get_watermark_offsets(place, timeout=PATIENCE_S)[1]
        client.assign([place])
        offset = 0
        while offset < end:
            for message in client.consume(500, 0.2):
                assert message.error() is None
                entry = msgspec.json.decode(message.value() or b"", type=Entry)
                offset = (message.offset() or 0) + 1
                entries[entry.account, entry.version, entry.id] = entry
                where = {"partition": str(Partition(topic.name, number)), "offset": offset - 1}
                event = {"key": entry.account, "version": entry.version, "id": entry.id}
                steps.append(Step(op=Op.ACCEPTED, **where, **event))  # type: ignore[arg-type]
    client.close()
    return steps, entries


def at_rest(crew: Crew, topic: Topic, taken: Sequence[Step]) -> list[Step]:
    """What the group has committed, under the fence of its last owner, and what is in the store."""
    client = Consumer({"bootstrap.servers": topic.kafka.bootstrap, "group.id": crew.group, "log_level": 0})
    places = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
    steps, at = [], taken[-1].at
    for found in client.committed(places, timeout=PATIENCE_S):
        partition = str(Partition(topic.name, found.partition))
        owned = [step for step in taken if step.op is Op.ASSIGNED and step.partition == partition]
        end = client.get_watermark_offsets(found, timeout=PATIENCE_S)[1]
        last = {"at": at, "worker": owned[-1].worker, "epoch": owned[-1].epoch}
        steps.append(Step(op=Op.COMMITTED, partition=partition, offset=found.offset, **last))  # type: ignore[arg-type]
        steps.append(Step(op=Op.FOUND, at=at, what="lag", partition=partition, offset=end - found.offset))
    client.close()
    store = SqliteStore(str(crew.path), "accounts")
    steps += [
        Step(op=Op.FOUND, at=at, what="state", key=key, state=state.decode())
        for key, _, state in store.states()
        if state is not None
    ]
    assert store.held_count() == 0
    assert list(store.letters()) == []
    store.close()
    return [*steps, Step(op=Op.REST, at=at)]


def fold(state: Account | None, entry: Entry) -> Account:
    """Written anew: the oracle shares no code with the consumer."""
    before = state or Account(0, [])
    return Account(before.balance + entry.amount, [*before.versions, entry.version])


def test_a_kill_rebalances_and_disorder_leave_a_trace_without_an_anomaly(
    kafka: KafkaCluster, tmp_path: Path, crews: list[Crew]
) -> None:
    stream = Disorder(accounts=10, each=30, seed=9)
    topic = Topic(kafka, partitions=3)
    crew = Recorded(topic, "cooperative", "fold", tmp_path)
    crews.append(crew)
    topic.produce(stream, 0, of=2)
    victim, _ = crew.start(), crew.start()
    until("they are at work", lambda: crew.done() > 40)
    crew.kill(victim)
    guest = crew.start()
    topic.produce(stream, 1, of=2)
    until("they got further", lambda: crew.done() > 150)
    crew.stop(guest)
    until("all is settled", crew.settled)
    crew.close()

    broker, entries = accepted(topic)
    with sqlite3.connect(crew.path) as connection:
        rows = connection.execute("SELECT step FROM trace ORDER BY n").fetchall()
    taken = [msgspec.json.decode(step, type=Step) for (step,) in rows]
    oracle = FoldOracle(fold, entries, lambda state: None if state is None else msgspec.json.encode(state).decode())
    rules = rules_of(declaration_of(consumer("fold", str(crew.effects))))
    unrecorded = {Op.RECEIVED, Op.REVOKED, Op.CRASHED}
    rules = msgspec.structs.replace(rules, records=rules.records - unrecorded)

    def judged(steps: list[Step]) -> Judgement:
        return judge(Trace(rules, [*broker, *steps, *at_rest(crew, topic, taken)]), oracle)

    seen = judged(taken)
    assert seen.findings == []
    assert set(seen.unknown) == {"S10", "S18"}, "handlers' beginnings and calls are not recorded"
    effects = [step for step in taken if step.op is Op.APPLIED]
    assert len(effects) == 10 * 30
    assert len({step.worker for step in effects}) >= 2
    assert {step.op for step in taken} >= {Op.HELD, Op.RELEASED, Op.ASSIGNED}

    # The checkers look: one effect less, one twice, one by a worker that had lost its partition.
    at = taken.index(effects[100])
    first = {one.anomaly for one in judged(taken[:at] + taken[at + 1 :]).findings}
    assert {"S3", "S11", "S4"} & first
    assert "S1" in {one.anomaly for one in judged([*taken[: at + 1], *taken[at:]]).findings}
    old = msgspec.structs.replace(effects[-1], epoch=0)
    assert "S9" in {one.anomaly for one in judged([old if one is effects[-1] else one for one in taken]).findings}
