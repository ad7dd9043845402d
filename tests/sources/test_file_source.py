"""A file, or standard input, as a source."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from io import FileIO
from pathlib import Path

import pytest

from inorder.core.event import Partition, Record
from inorder.errors import UsageError
from inorder.sources.file import FileSource
from inorder.wiring import open_source

PATIENCE_S = 4.0


class Listening:
    def __init__(self) -> None:
        self.told: list[tuple[str, Sequence[Partition]]] = []

    def assigned(self, partitions: Sequence[Partition]) -> None:
        self.told.append(("assigned", partitions))

    def revoked(self, partitions: Sequence[Partition]) -> None:
        self.told.append(("revoked", partitions))

    def lost(self, partitions: Sequence[Partition]) -> None:
        raise AssertionError("a file is never lost")


Open = Callable[[str | Path], FileSource]


@pytest.fixture
def listener() -> Listening:
    return Listening()


@pytest.fixture
def reading(listener: Listening) -> Iterator[Open]:
    """Opens sources and closes them after the test."""
    opened: list[FileSource] = []

    def open_and_subscribe(path: str | Path) -> FileSource:
        source = FileSource(path)
        source.subscribe(listener)
        opened.append(source)
        return source

    yield open_and_subscribe
    for source in opened:
        source.close()


def read(source: FileSource, count: int, most: int = 100) -> list[Record]:
    """Poll until that many records came."""
    records: list[Record] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(records) < count:
        assert time.monotonic() < deadline, "not in time"
        slices = source.poll(most, 0.05)
        assert sum(map(len, slices)) <= most
        records += [given.record(index) for given in slices for index in range(len(given))]
    return records


def read_all(source: FileSource) -> list[Record]:
    """Poll and commit to the end."""
    records: list[Record] = []
    deadline = time.monotonic() + PATIENCE_S
    while not source.at_end():
        assert time.monotonic() < deadline, "not in time"
        for given in source.poll(100, 0.05):
            records += [given.record(index) for index in range(len(given))]
            source.commit({given.partition: given.next_offset})
    return records


@pytest.fixture
def pipe() -> Iterator[FileIO]:
    """Standard input is a pipe; its writing end."""
    kept = os.dup(0)
    reading, writing = os.pipe()
    os.dup2(reading, 0)
    os.close(reading)
    with FileIO(writing, "w") as writer:
        yield writer
    os.dup2(kept, 0)
    os.close(kept)


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b'{"a":1}\n{"a":2}\n', [(1, b'{"a":1}'), (2, b'{"a":2}')]),
        (b"one\ntwo", [(1, b"one"), (2, b"two")]),
        (b"one\r\ntwo\r\n", [(1, b"one"), (2, b"two")]),
        (b"one\n\n  \n\r\nfive\n\n", [(1, b"one"), (5, b"five")]),
        (b"\x00\xff\n \xe2\x80\xa8 x\rx\n", [(1, b"\x00\xff"), (2, b" \xe2\x80\xa8 x\rx")]),
    ],
)
def test_each_line_is_a_record_and_its_number_the_offset(
    tmp_path: Path, reading: Open, content: bytes, lines: list[tuple[int, bytes]]
) -> None:
    (tmp_path / "events.jsonl").write_bytes(content)
    records = read_all(reading(tmp_path / "events.jsonl"))
    assert [(record.offset, record.value) for record in records] == lines
    assert {record.partition for record in records} <= {Partition("events.jsonl", 0)}


def test_lines_longer_than_what_is_read_at_once_and_many_of_them_come_in_order(tmp_path: Path, reading: Open) -> None:
    lines = [b"%d " % number + b"x" * (number * 97 % 3000) for number in range(2_000)] + [b"y" * 2_000_000]
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(lines))
    records = read_all(reading(tmp_path / "events.jsonl"))
    assert [record.value for record in records] == lines
    assert [record.offset for record in records] == list(range(1, 2_002))


def test_a_rerun_reads_everything_again(tmp_path: Path, reading: Open) -> None:
    (tmp_path / "events.jsonl").write_bytes(b"one\ntwo\n")
    assert read_all(reading(tmp_path / "events.jsonl")) == read_all(reading(tmp_path / "events.jsonl"))


def test_the_end_is_reached_only_when_all_is_committed(tmp_path: Path, reading: Open) -> None:
    (tmp_path / "events.jsonl").write_bytes(b"one\ntwo\nthree\n")
    source = reading(tmp_path / "events.jsonl")
    assert not source.at_end(), "nothing was read"
    partition = read(source, 2, most=2)[0].partition
    source.commit({partition: 3})
    assert not source.at_end(), "one line is left"
    read(source, 1)
    source.poll(1, 0.05)
    assert not source.at_end(), "the last line is not committed"
    source.commit({partition: 4})
    assert source.at_end()


def test_a_pause_gives_nothing_and_loses_nothing(tmp_path: Path, reading: Open) -> None:
    (tmp_path / "events.jsonl").write_bytes(b"one\ntwo\n")
    source = reading(tmp_path / "events.jsonl")
    (first,) = read(source, 1, most=1)
    source.pause([first.partition])
    started = time.monotonic()
    assert source.poll(1, 0.1) == []
    assert time.monotonic() - started > 0.09
    source.resume([first.partition])
    assert [record.value for record in read(source, 1)] == [b"two"]


def test_the_listener_has_the_partition_from_the_first_poll_to_the_close(
    tmp_path: Path, reading: Open, listener: Listening
) -> None:
    (tmp_path / "events.jsonl").write_bytes(b"one\n")
    source = reading(tmp_path / "events.jsonl")
    assert listener.told == []
    source.poll(1, 0)
    source.poll(1, 0)
    source.close()
    source.close()
    partitions = [Partition("events.jsonl", 0)]
    assert listener.told == [("assigned", partitions), ("revoked", partitions)]


def test_standard_input_never_holds_a_poll_up(reading: Open, pipe: FileIO) -> None:
    source = reading("-")
    started = time.monotonic()
    assert source.poll(1, 0.1) == []
    assert 0.09 < time.monotonic() - started < 1
    assert not source.at_end(), "it is still open"


def test_a_line_on_standard_input_comes_when_it_is_whole(reading: Open, pipe: FileIO) -> None:
    source = reading("-")
    pipe.write(b'{"a":')
    assert source.poll(1, 0.1) == []
    pipe.write(b'1}\n{"b"')
    (record,) = read(source, 1)
    assert (record.partition, record.offset, record.value) == (Partition("stdin", 0), 1, b'{"a":1}')
    pipe.close()
    assert [record.value for record in read_all(source)] == [b'{"b"']


def test_a_poll_returns_as_soon_as_a_line_is_there(reading: Open, pipe: FileIO) -> None:
    source = reading("-")
    writer = threading.Timer(0.1, pipe.write, (b"now\n",))
    writer.start()
    started = time.monotonic()
    assert sum(map(len, source.poll(10, PATIENCE_S))) == 1
    assert time.monotonic() - started < PATIENCE_S / 2
    writer.join()


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_what_cannot_be_read_gets_one_line_that_says_so(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*: name a JSON Lines file") as caught:
        FileSource(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_url_of_a_file_on_another_machine_is_not_taken_for_one_here(tmp_path: Path) -> None:
    (tmp_path / "e.jsonl").write_bytes(b"{}\n")
    for url in (f"file://{tmp_path}/e.jsonl", f"file://localhost{tmp_path}/e.jsonl"):
        open_source(url, "group").close()
    with pytest.raises(UsageError, match=r"names no file here: write file:///absolute.jsonl, or the path alone"):
        open_source(f"file://data{tmp_path}/e.jsonl", "group")
