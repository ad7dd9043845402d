"""A consumer process of the embedded broker: prints what it receives, then what it has committed.

Usage: python -m tests.sources.consume PATH TOPIC SESSION_TIMEOUT_S
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from inorder.core.event import Partition
from inorder.sources.embedded import EmbeddedSource


class Quiet:
    def assigned(self, partitions: Sequence[Partition]) -> None: ...

    def revoked(self, partitions: Sequence[Partition]) -> None: ...

    def lost(self, partitions: Sequence[Partition]) -> None:
        print("lost", flush=True)


def main(path: str, topic: str, session_timeout_s: str) -> None:
    source = EmbeddedSource(path, topic, "group", float(session_timeout_s))
    source.subscribe(Quiet())
    while True:
        for given in source.poll(most=20, timeout_s=0.1):
            number = given.partition.number
            for index in range(len(given)):
                print("received", number, given.offset(index), flush=True)
            source.commit({given.partition: given.next_offset})
            print("committed", number, given.next_offset, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
