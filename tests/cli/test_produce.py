"""`inorder produce`: all lines or none."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from inorder.cli.produce import SHOWN
from inorder.core.event import Partition
from inorder.sources.embedded import EmbeddedBroker, EmbeddedSource
from tests.cli.conftest import Command, Start, events, write_lines


class Nobody:
    """Does not mind which partitions it has."""

    def assigned(self, partitions: Sequence[Partition]) -> None: ...
    def revoked(self, partitions: Sequence[Partition]) -> None: ...
    def lost(self, partitions: Sequence[Partition]) -> None: ...


@pytest.fixture
def topic(tmp_path: Path) -> str:
    return f"embedded://{tmp_path}/broker.db/T"


def partitions(tmp_path: Path) -> dict[int, int]:
    """How many records each partition has."""
    broker = EmbeddedBroker(tmp_path / "broker.db")
    try:
        return {partition.number: end for partition, end in broker.ends("T").items()}
    finally:
        broker.close()


def test_the_delivered_count_is_the_output(inorder: Command, tmp_path: Path, topic: str) -> None:
    file = write_lines(tmp_path / "events.jsonl", events(7, 5))
    said = inorder("produce", file, "--to", topic, "--key", "account", "--partitions", 3)
    assert (said.code, said.out, said.err) == (0, "35 delivered\n", "")
    assert sum(partitions(tmp_path).values()) == 35
    assert len(partitions(tmp_path)) == 3
    again = inorder("produce", file, "--to", topic, "--key", "account", "--json")
    assert again.document == {"delivered": 35}


def test_a_topic_can_grow(inorder: Command, tmp_path: Path, topic: str) -> None:
    file = write_lines(tmp_path / "events.jsonl", events(3, 1))
    inorder("produce", file, "--to", topic, "--key", "account", "--partitions", 2)
    assert inorder("produce", file, "--to", topic, "--key", "account", "--partitions", 5).code == 0
    assert len(partitions(tmp_path)) == 5
    shrink = inorder("produce", file, "--to", topic, "--key", "account", "--partitions", 1)
    assert shrink.code == 2
    assert "cannot shrink" in shrink.err


def test_every_line_that_is_not_valid_is_reported_and_nothing_is_sent(
    inorder: Command, tmp_path: Path, topic: str
) -> None:
    good = events(1, 1)[0]
    lines = [
        good,
        b"{oops",
        b"",
        {"no": "key"},
        {"account": ""},
        {"account": None},
        {"account": True},
        {"account": 1.5},
        [1],
        b"\xff\xfe",
        b'{"account": "\\ud800"}',
        b"[" * 10_000,
        {"account": 7},
    ]
    said = inorder("produce", write_lines(tmp_path / "events.jsonl", lines), "--to", topic, "--key", "account")
    assert (said.code, said.out) == (1, "")
    *reported, summary = said.err.splitlines()
    assert [int(line.split(":")[0].removeprefix("line ")) for line in reported] == [2, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    assert reported[1] == "line 4: account: missing"
    assert reported[2] == "line 5: account: '' is not a text of one character or more, nor a whole number"
    assert reported[6] == "line 9: is not a JSON object"
    assert summary.endswith("10 lines are not valid; nothing was sent")
    assert not (tmp_path / "broker.db").exists()


def test_of_very_many_lines_that_are_not_valid_the_first_are_named_and_all_counted(
    inorder: Command, tmp_path: Path, topic: str
) -> None:
    for count, more in ((SHOWN, []), (1_500, ["… and 1,480 more"])):
        said = inorder(
            "produce", write_lines(tmp_path / "e.jsonl", [b"{oops"] * count), "--to", topic, "--key", "account"
        )
        *named, summary = said.err.splitlines()
        assert [line.split(":")[0] for line in named] == [*(f"line {n}" for n in range(1, SHOWN + 1)), *more]
        assert summary.endswith(f"{count:,} lines are not valid; nothing was sent")


def test_bytes_arrive_as_they_are_and_blank_lines_do_not(inorder: Command, tmp_path: Path, topic: str) -> None:
    line = b' {"account" : "\xc3\xa5", "n": 1.50}'
    (tmp_path / "events.jsonl").write_bytes(b"\n" + line + b"\r\n \n" + line)
    assert inorder("produce", tmp_path / "events.jsonl", "--to", topic, "--key", "account").out == "2 delivered\n"
    source = EmbeddedSource(tmp_path / "broker.db", "T", "look")
    source.subscribe(Nobody())
    values = [value for piece in source.poll(10, 1.0) for value in piece.values]
    source.close()
    assert values == [line, line]


def test_standard_input_and_pipes_are_read_to_their_end_first(tmp_path: Path, topic: str, start: Start) -> None:
    good = b"".join(json.dumps(event).encode() + b"\n" for event in events(4, 5))
    for data, code, out in ((good, 0, "20 delivered\n"), (good + b"{\n", 1, "")):
        read, write = os.pipe()
        os.write(write, data)
        os.close(write)
        sending = start("produce", "-", "--to", topic, "--key", "account", stdin=read)
        os.close(read)
        assert (sending.code(), sending.out) == (code, out)
    assert "line 21: " in sending.err
    assert sum(partitions(tmp_path).values()) == 20


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("no.jsonl", "--to", "embedded://b.db/T", "--key", "k"), 2, "cannot read no.jsonl: No such file"),
        ((".", "--to", "embedded://b.db/T", "--key", "k"), 2, "cannot read .: Is a directory"),
        (("e.jsonl", "--to", "redis://b/T", "--key", "k"), 2, "'redis://b/T' is no sink"),
        (("e.jsonl", "--to", "embedded:///no/such/b.db/T", "--key", "k"), 1, "/no/such is no directory"),
        (("e.jsonl", "--to", "embedded://b.db/T"), 2, "--key"),
        (("e.jsonl", "--to", "embedded://b.db/T", "--key", "k", "--partitions", "0"), 2, "--partitions"),
        (("--to", "embedded://b.db/T", "--key", "k"), 2, "FILE"),
    ],
)
def test_a_mistake_gets_one_line(
    inorder: Command, tmp_path: Path, arguments: tuple[str, ...], code: int, word: str
) -> None:
    write_lines(tmp_path / "e.jsonl", [{"k": "a"}])
    said = inorder("produce", *arguments)
    assert (said.code, said.out) == (code, "")
    [line] = said.err.splitlines()
    assert word in line
