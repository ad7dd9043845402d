"""The embedded broker among real processes, one of which is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from inorder.sources.embedded import EmbeddedBroker, Message

RECORDS_AFTER_THE_KILL = 500
PATIENCE_S = 15.0  # two interpreters start first, on a machine that may be busy


class Process:
    """A consumer process and the file of what it printed."""

    def __init__(self, broker: Path, output: Path) -> None:
        self.output = output
        with output.open("wb") as file:
            command = [sys.executable, "-m", "tests.sources.consume", str(broker), "topic", "0.5"]
            self.popen = subprocess.Popen(command, stdout=file)

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()

    def lines(self) -> list[list[str]]:
        text = self.output.read_text()
        return [line.split() for line in text[: text.rfind("\n") + 1].splitlines()]

    def offsets(self, word: str) -> dict[int, list[int]]:
        found = defaultdict(list)
        for first, *rest in self.lines():
            if first == word:
                number, offset = map(int, rest)
                found[number].append(offset)
        return found


def test_one_of_two_processes_is_killed_while_records_arrive_and_the_topic_grows(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path / "broker.db")
    broker.create_topic("topic", 4)
    victim, survivor = (Process(tmp_path / "broker.db", tmp_path / name) for name in ("victim", "survivor"))
    deadline = time.monotonic() + PATIENCE_S
    records = [Message(b"key %d" % number, b"") for number in range(20)]
    try:
        while not (victim.offsets("committed") and survivor.offsets("committed")):
            assert time.monotonic() < deadline, "not in time: both have records"
            broker.append_many("topic", records)
            time.sleep(0.01)
        victim.kill()
        broker.grow("topic", 6)
        for _ in range(RECORDS_AFTER_THE_KILL // len(records)):
            broker.append_many("topic", records)
        while broker.committed("topic", "group") != broker.ends("topic"):
            assert time.monotonic() < deadline, "not in time: all is committed"
            time.sleep(0.01)
    finally:
        victim.kill()
        survivor.kill()
    ends = {partition.number: end for partition, end in broker.ends("topic").items()}
    before, after, committed = (
        victim.offsets("received"),
        survivor.offsets("received"),
        victim.offsets("committed"),
    )
    assert ["lost"] not in survivor.lines()
    for number, end in ends.items():
        assert set(before[number]) | set(after[number]) == set(range(end)), "nothing is missing"
        assert before[number] == sorted(set(before[number])), "in order, once"
        assert after[number] == sorted(set(after[number])), "in order, once"
        last_committed = max(committed[number], default=0)
        repeated = set(before[number]) & set(after[number])
        assert all(offset >= last_committed for offset in repeated), "only what was not committed came again"
    assert any(before[number] and after[number] for number in ends), "a partition changed hands"
