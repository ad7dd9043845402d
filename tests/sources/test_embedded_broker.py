"""The embedded broker's producing side, its sink, and what it says about mistakes."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from inorder.core.event import Partition
from inorder.core.partitioner import partition_for
from inorder.errors import InorderError, Unreachable, UsageError
from inorder.producing.embedded import EmbeddedSink
from inorder.sources.embedded import EmbeddedBroker, EmbeddedSource, Message
from inorder.sources.embedded_file import EmbeddedFile
from inorder.sources.embedded_url import parse


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "broker.db"


@pytest.fixture
def broker(path: Path) -> EmbeddedBroker:
    broker = EmbeddedBroker(path)
    broker.create_topic("topic", 3)
    return broker


def test_a_key_goes_where_kafka_would_send_it_and_moves_when_the_topic_grows(broker: EmbeddedBroker) -> None:
    keys = [b"account-%d" % number for number in range(50)]
    before = [number for number, _ in broker.append_many("topic", [Message(key, b"") for key in keys])]
    broker.grow("topic", 7)
    after = [number for number, _ in broker.append_many("topic", [Message(key, b"") for key in keys])]
    assert before == [partition_for(key, 3) for key in keys]
    assert after == [partition_for(key, 7) for key in keys]
    assert before != after


def test_offsets_are_dense_and_a_named_partition_is_kept_to(broker: EmbeddedBroker) -> None:
    given = broker.append_many("topic", [Message(b"k", b"", partition=number) for number in (2, 0, 2, 2)])
    assert given == [(2, 0), (0, 0), (2, 1), (2, 2)]
    assert broker.ends("topic") == {
        Partition("topic", 0): 1,
        Partition("topic", 1): 0,
        Partition("topic", 2): 3,
    }


def test_records_without_a_key_take_turns(broker: EmbeddedBroker) -> None:
    given = broker.append_many("topic", [Message(None, b"")] * 6)
    assert sorted(number for number, _ in given) == [0, 0, 1, 1, 2, 2]


def test_an_append_is_kept_whole_or_not_at_all(broker: EmbeddedBroker) -> None:
    with pytest.raises(UsageError, match="no partition 3"):
        broker.append_many("topic", [Message(None, b"", partition=0), Message(None, b"", partition=3)])
    assert set(broker.ends("topic").values()) == {0}


def test_producers_at_once_get_offsets_of_their_own(path: Path, broker: EmbeddedBroker) -> None:
    given: list[tuple[int, int]] = []

    def produce() -> None:
        mine = EmbeddedBroker(path)
        for _ in range(20):
            given.extend(mine.append_many("topic", [Message(b"k", b""), Message(b"l", b"")]))
        mine.close()

    threads = [threading.Thread(target=produce) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(given) == len(set(given)) == sum(broker.ends("topic").values()) == 160


def test_a_file_may_be_created_by_several_at_once(path: Path) -> None:
    failures: list[BaseException] = []

    def create() -> None:
        try:
            EmbeddedBroker(path).close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=create) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize(("synchronous", "number"), [("NORMAL", 1), ("FULL", 2)])
def test_how_durable_a_connection_is(path: Path, broker: EmbeddedBroker, synchronous: str, number: int) -> None:
    file = EmbeddedFile(path, synchronous=synchronous)  # type: ignore[arg-type]
    assert file._pragma("synchronous") == number
    assert broker._file._pragma("synchronous") == 2, "an acknowledged record is on the disk"
    file.close()


def test_a_group_that_never_was_stands_at_the_beginning(broker: EmbeddedBroker) -> None:
    assert set(broker.committed("topic", "nobody").values()) == {0}


def test_the_sink_counts_and_creates_what_is_not_there(path: Path) -> None:
    sink = EmbeddedSink.from_url(f"embedded://{path}/topic?partitions=2")
    sink.send([(b"a", b"1"), (None, b"2")])
    sink.send([(b"a", b"3")])
    assert sink.flush() == 3
    sink.close()
    broker = EmbeddedBroker(path)
    assert sum(broker.ends("topic").values()) == 3
    assert len(broker.ends("topic")) == 2


def test_the_sink_lets_a_topic_grow_and_never_shrink(path: Path) -> None:
    EmbeddedSink(path, "topic", partitions=2).close()
    EmbeddedSink(path, "topic", partitions=4).close()
    EmbeddedSink(path, "topic").close()
    assert len(EmbeddedBroker(path).ends("topic")) == 4
    with pytest.raises(UsageError, match="cannot shrink to 3"):
        EmbeddedSink(path, "topic", partitions=3)


@pytest.mark.parametrize(
    ("url", "path", "topic"),
    [
        ("embedded:///var/lib/b.db/bank", "/var/lib/b.db", "bank"),
        ("embedded://b.db/bank", "b.db", "bank"),
        ("embedded://some/Folder/b.db/bank?group=g", "some/Folder/b.db", "bank"),
        ("embedded:///tmp/a%20b%3F.db/bank", "/tmp/a b?.db", "bank"),
    ],
)
def test_urls(url: str, path: str, topic: str) -> None:
    location = parse(url, known=("group",))
    assert (str(location.path), location.topic) == (path, topic)


def a_url(tail: str) -> Callable[[Path], object]:
    return lambda path: EmbeddedSource.from_url(f"embedded://{path}{tail}", "group")


def another_programs_file(path: Path) -> object:
    connection = sqlite3.connect(path.with_name("other.db"))
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    return EmbeddedBroker(path.with_name("other.db"))


def no_database(path: Path) -> object:
    path.with_name("text").write_text("not a database" * 100)
    return EmbeddedSource(path.with_name("text"), "topic", "group")


def a_newer_schema(path: Path) -> object:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    return EmbeddedSource(path, "topic", "group")


@pytest.mark.parametrize(
    ("mistake", "error", "message"),
    [
        (lambda path: EmbeddedSource(path.with_name("no.db"), "t", "g"), Unreachable, "inorder produce FILE --to"),
        (lambda path: EmbeddedBroker(path / "no" / "no.db"), Unreachable, "is no directory"),
        (lambda path: EmbeddedSource(path, "other", "g"), UsageError, r"no topic 'other' .*it has: topic"),
        (lambda path: EmbeddedBroker(path).create_topic("topic", 1), UsageError, "already"),
        (lambda path: EmbeddedBroker(path).create_topic("a/b", 1), UsageError, "no slash"),
        (lambda path: EmbeddedBroker(path).create_topic("new", 0), UsageError, "1 to 10000"),
        (lambda path: EmbeddedBroker(path).grow("topic", 2), UsageError, "cannot shrink"),
        (a_url("/topic?grop=x"), UsageError, "unknown option 'grop'.*group, session_timeout_s"),
        (a_url("/topic?session_timeout_s=soon"), UsageError, "session_timeout_s=soon is no time"),
        (a_url("/topic?session_timeout_s=-1"), UsageError, "no time"),
        (a_url("/"), UsageError, "names no embedded topic"),
        (lambda path: EmbeddedSource.from_url("embedded://topic", "g"), UsageError, "names no embedded topic"),
        (lambda path: EmbeddedSink.from_url(f"embedded://{path}/t?partitions=x"), UsageError, "no count"),
        (another_programs_file, UsageError, "is not an embedded broker"),
        (no_database, Unreachable, "file is not a database"),
        (a_newer_schema, UsageError, "has schema 99, and this inorder knows 1"),
    ],
)
def test_a_mistake_gets_one_line_that_says_what_to_do(
    path: Path,
    broker: EmbeddedBroker,
    mistake: Callable[[Path], object],
    error: type[InorderError],
    message: str,
) -> None:
    with pytest.raises(error, match=message) as caught:
        mistake(path)
    assert "\n" not in str(caught.value)


def test_one_slash_too_many_is_told_of(path: Path, broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    with pytest.raises(Unreachable, match=rf"written with two slashes, embedded://{path.name}/TOPIC"):
        EmbeddedSource.from_url(f"embedded:///{path.name}/topic", "g")
