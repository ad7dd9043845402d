"""`inorder.Producer` on the embedded broker, read back by a consumer."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import pytest

import inorder
from inorder.core.partitioner import partition_for
from inorder.sources import embedded_file
from inorder.sources.embedded import EmbeddedBroker


def ends(path: Path) -> dict[int, int]:
    broker = EmbeddedBroker(path)
    found = {partition.number: end for partition, end in broker.ends("entries").items()}
    broker.close()
    return found


@inorder.fold(key="account", version="version", id="id")
def balance(total: int | None, entry: dict[str, object]) -> int:
    amount = entry["amount"]
    assert isinstance(amount, int)
    return (total or 0) + amount


def test_what_is_sent_is_consumed_in_order(tmp_path: Path) -> None:
    url = f"embedded://{tmp_path}/broker.db/entries"
    with inorder.Producer(url) as producer:
        for version in range(1, 51):
            for account in "AB":
                entry = {"account": account, "version": version, "id": f"{account}{version}", "amount": version}
                producer.send(account, entry, version=version, id=f"{account}{version}")
    report = inorder.run(balance, source=url, store=f"sqlite:///{tmp_path}/store.db", until_idle_s=0.2)
    assert (report.received, report.outcomes["applied"]) == (100, 100)


def test_keys_go_where_kafka_puts_them(tmp_path: Path) -> None:
    with inorder.Producer(f"embedded://{tmp_path}/broker.db/entries?partitions=5") as producer:
        places = {key: producer.send(key, b"{}").result(5) for key in ("a", "b", "c", "d")}
    assert {key: place.partition for key, place in places.items()} == {
        key: partition_for(key.encode(), 5) for key in places
    }
    assert sum(ends(tmp_path / "broker.db").values()) == 4


def test_a_locked_file_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_file, "_PATIENCE_S", 0.05)
    path = tmp_path / "broker.db"
    with inorder.Producer(f"embedded://{path}/entries?partitions=1") as producer:
        producer.send("a", b"0").result(5)
        lock = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        lock.execute("BEGIN IMMEDIATE")
        threading.Timer(0.5, lambda: lock.execute("ROLLBACK")).start()
        began = time.monotonic()
        for number in range(1, 10):
            producer.send("a", b"%d" % number)
        producer.flush(10)
        assert time.monotonic() - began > 0.3
    lock.close()
    assert ends(path) == {0: 10}


def test_an_unknown_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(inorder.UsageError, match="unknown option 'acks'"):
        inorder.Producer(f"embedded://{tmp_path}/broker.db/entries?acks=all")
