"""One worker process of the end-to-end tests: `python -m tests.e2e.worker KIND SOURCE STORE EFFECTS`.

A SIGTERM stops it. KIND is fold, tx or call; or naive, the consumer that most people write.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from urllib.parse import parse_qsl, urlsplit

import msgspec
from confluent_kafka import Consumer

from inorder.worker.run import Worker
from inorder.worker.settings import Settings
from tests.e2e.accounts import PAUSE_S, Bank, Entry, consumer


def main(kind: str, source: str, store: str, effects: str) -> None:
    stop = threading.Event()
    if kind == "naive":
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        naive(source, effects, stop)
        return
    worker = Worker(consumer(kind, effects), Settings(source=source, store=store))
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    print("up", flush=True)
    sys.exit(0 if worker.run() else 1)


def naive(source: str, bank: str, stop: threading.Event) -> None:
    """Each entry is added to the balance as it comes, and the offsets are committed after."""
    url = urlsplit(source)
    options = dict(parse_qsl(url.query))
    client = Consumer(
        {
            "bootstrap.servers": url.netloc,
            "group.id": options.pop("group"),
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            **options,
        }
    )
    client.subscribe([url.path.strip("/")])
    accounts = Bank(bank)
    print("up", flush=True)
    while not stop.is_set():
        for message in client.consume(50, 0.1):
            if message.error() is None:
                time.sleep(PAUSE_S)
                accounts.post(msgspec.json.decode(message.value() or b"", type=Entry))
                client.commit(message=message, asynchronous=True)
    client.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
