"""What became of each delivery: the stream as it was sent, joined with the logs of those who received it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from inorder.lab.accounts import Entry
from inorder.lab.runlog import Decided, Decision, Received, Refused, read
from inorder.lab.stream import Delivery


class Receipt(msgspec.Struct, kw_only=True):
    """One delivery as one process received it. A delivery that is handed out again has several receipts."""

    delivery: Delivery
    entry: Entry
    worker: str
    process: int
    """Tells one process of a worker from the next."""
    place: int
    """Its place among what this process received."""
    received_at: float
    decided_at: float = 0.0
    settled_at: float | None = None
    """When what was decided was committed. None: never, for the process was killed or lost the partition."""
    outcome: str = ""
    balance: int | None = None


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """Something that waited was decided in the end."""

    delivery: Delivery
    entry: Entry
    worker: str
    process: int
    at: float
    settled_at: float
    outcome: str


class History:
    """The run of one crew."""

    def __init__(self, folder: Path, crew: str, entries: Sequence[Entry], deliveries: Iterable[Delivery]) -> None:
        self._entries = entries
        self._deliveries = {(one.partition, one.offset): one for one in deliveries}
        self.receipts: list[Receipt] = []
        self.effects: list[Effect] = []
        self.refused: list[tuple[int, Refused]] = []
        self.processes: list[tuple[str, int]] = []
        """Each process: of which worker, and which one of it."""
        for process, life in enumerate(read(folder, crew)):
            self.processes.append((life.worker, life.number))
            under_way: dict[tuple[int, int], Receipt] = {}
            place = 0
            for line in life.lines:
                if isinstance(line, Received):
                    for offset in range(line.offset, line.offset + line.count):
                        place += 1
                        receipt = self._receipt(line, offset, life.worker, process, place)
                        under_way[line.partition, offset] = receipt
                        self.receipts.append(receipt)
                elif isinstance(line, Refused):
                    self.refused.append((process, line))
                else:
                    self._decided(line, under_way, life.worker, process)
        self.receipts.sort(key=lambda receipt: receipt.received_at)
        self.effects.sort(key=lambda effect: effect.at)

    @property
    def settled(self) -> list[Receipt]:
        """What was received and decided, in order of receipt."""
        return [receipt for receipt in self.receipts if receipt.settled_at is not None]

    def _receipt(self, line: Received, offset: int, worker: str, process: int, place: int) -> Receipt:
        delivery = self._deliveries[line.partition, offset]
        return Receipt(
            delivery=delivery,
            entry=self._entries[delivery.event],
            worker=worker,
            process=process,
            place=place,
            received_at=line.at,
        )

    def _decided(self, line: Decided, under_way: dict[tuple[int, int], Receipt], worker: str, process: int) -> None:
        for one in line.decisions:
            place = one.partition, one.offset
            if one.waited:
                self.effects.append(self._effect(one, line.at, worker, process))
            elif (receipt := under_way.pop(place, None)) is not None:
                receipt.decided_at, receipt.settled_at = one.at, line.at
                receipt.outcome, receipt.balance = one.outcome, one.balance

    def _effect(self, one: Decision, settled_at: float, worker: str, process: int) -> Effect:
        delivery = self._deliveries[one.partition, one.offset]
        return Effect(
            delivery=delivery,
            entry=self._entries[delivery.event],
            worker=worker,
            process=process,
            at=one.at,
            settled_at=settled_at,
            outcome=one.outcome,
        )
