"""One account's entries, three producers that send them, and two consumers that read them."""

from __future__ import annotations

from pathlib import Path

import msgspec
from confluent_kafka import Producer as Librdkafka

import inorder
from inorder.sources import kafka_url
from inorder.sources.kafka_contact import Quiet
from inorder.wiring import open_store
from inorder.worker.settings import Report
from tests.producing.reading import read_topic

MARK = b"an entry"
COUNT = 24
SMALL_BATCHES = {"linger.ms": 0, "batch.num.messages": 2}
"""Several requests in flight, from few records."""


class Entry(msgspec.Struct):
    account: str
    version: int
    id: str
    note: str = MARK.decode()


FEW = inorder.Limits(poll_events=2)
"""Small polls: in one large poll, early events find their predecessors, and are not held."""


@inorder.fold(key="account", version="version", id="id", name="guarded", limits=FEW)
def guarded(history: list[int] | None, entry: Entry) -> list[int]:
    return [*(history or []), entry.version]


@inorder.fold(key="account", version="version", id="id", name="naive", order="unguarded", limits=FEW)
def naive(history: list[int] | None, entry: Entry) -> list[int]:
    """The consumer that everybody writes first: it does what comes, as it comes."""
    return [*(history or []), entry.version]


class Stream:
    """A topic: `url` is the broker's own, `through` goes through the proxy."""

    def __init__(self, url: str, through: str) -> None:
        self.url = url
        self.through = through

    def produce_with_librdkafka(self, **options: str | int | bool) -> None:
        """As its defaults are, but for what is given: not idempotent, many requests in flight."""
        where = kafka_url.parse(self.through)
        settings = {name.replace("_", "."): value for name, value in options.items()}
        always: kafka_url.Settings = {"bootstrap.servers": where.bootstrap, "acks": "all", "logger": Quiet()}
        client = Librdkafka({**always, **SMALL_BATCHES, **settings})
        for entry in entries():
            client.produce(where.topic, msgspec.json.encode(entry), entry.account.encode())
        assert client.flush(20) == 0, "librdkafka believes that all of it is delivered"

    def produce_with_inorder(self) -> None:
        options = "&".join(f"{name}={value}" for name, value in SMALL_BATCHES.items())
        with inorder.Producer(f"{self.through}?{options}") as producer:
            for entry in entries():
                producer.send(entry.account, entry, version=entry.version, id=entry.id)

    def versions(self) -> list[int]:
        """What the topic has, in its order."""
        return [msgspec.json.decode(row.value or b"", type=Entry).version for row in read_topic(self.url)]

    def consume(self, consumer: object, folder: Path) -> tuple[list[int], Report]:
        """The state of the account afterwards, and what was counted."""
        store = f"sqlite:///{folder}/store.db"
        report = inorder.run(consumer, source=self.url, store=store, until_idle_s=0.3)  # type: ignore[arg-type]
        look = open_store(store, report.stream)
        ((_, _, state),) = look.states()
        look.close()
        return msgspec.json.decode(state, type=list[int]), report


def entries() -> list[Entry]:
    return [Entry("A", version, f"A-{version}") for version in range(1, COUNT + 1)]


IN_ORDER = list(range(1, COUNT + 1))
