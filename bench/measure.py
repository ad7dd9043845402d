"""Runs arms, each in a process of its own, interleaved in rotating order, and checks the states they end in."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import psycopg
from rich.console import Console

from bench import cpu
from bench.arms.task import Report, Task
from bench.distance import away
from bench.process import Process
from bench.results import Figure, Part, Sample, Table
from bench.states import wrong_states
from bench.topics import Topic, Topics
from bench.workload import Workload
from tests.services import KafkaCluster, Postgres

Item = TypeVar("Item")


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """One arm of a comparison: what runs, on what, into what."""

    label: str
    program: str
    """One of `bench.arms.__main__.ARMS`."""
    topic: Topic
    store: str = ""
    """"postgres", "sqlite", or "" for none."""
    options: dict[str, Any] = {}
    """What else the task says."""
    away_s: float = 0.0
    """How long a message takes from the arm to its store, and as long back."""
    events: int | None = None
    """Take only so many of the topic's deliveries; the final states are not looked at then."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a run was asked for."""

    quick: bool
    rounds: int
    seed: int
    memory_events: int = 10_000_000


class Bench:
    """The services, the options of this run, and what is common to all parts."""

    def __init__(self, kafka: KafkaCluster, postgres: Postgres, scratch: Path, options: Options) -> None:
        self.kafka = kafka
        self.postgres = postgres
        self.scratch = scratch
        self.options = options
        self.quick = options.quick
        self.rounds = options.rounds
        self.machine: dict[str, str] = {}
        self.console = Console(stderr=True, highlight=False)
        self.topics = Topics(kafka)
        self.wrong: list[str] = []
        """Arms of the present part that ended in a wrong state although they must not."""
        names = {"postgres": "database", "java": "broker"}
        self.services = {names[name]: pid for name, pid in cpu.children(os.getpid()).items() if name in names}

    def topic(self, **work: Any) -> Topic:
        """The topic of a workload."""
        return self.topics.of(Workload(seed=self.options.seed, **work))

    def pick(self, quick: Item, full: Item) -> Item:
        """One or the other, depending on the mode."""
        return quick if self.quick else full

    def compare(self, arms: Sequence[Arm]) -> dict[str, list[Sample]]:
        """Every arm once a round, in an order that rotates. The samples of each, by label."""
        found: dict[str, list[Sample]] = {arm.label: [] for arm in arms}
        for number in range(self.rounds):
            for arm in rotated(arms, number):
                found[arm.label].append(self.once(arm, number))
        return found

    def once(self, arm: Arm, number: int) -> Sample:
        """One run of one arm."""
        with self.store(arm.store) as url:
            with (
                away(url, arm.away_s) if arm.away_s else nullcontext(url) as place,
                Process(arm.program, self.task(arm, place)) as process,
            ):
                report = process.report()
            sample = self.sample(arm, number, report, url)
        return sample

    def task(self, arm: Arm, store: str) -> Task:
        """What the arm's process is told."""
        events = arm.topic.deliveries if arm.events is None else arm.events
        return Task(source=arm.topic.url, events=events, store=store, services=self.services, **arm.options)

    def sample(self, arm: Arm, number: int, report: Report, url: str) -> Sample:
        """A report as a sample, with the final states checked where the whole topic was taken."""
        sample = Sample(
            arm=arm.label,
            round=number,
            events=report.events,
            seconds=round(report.seconds, 4),
            cores=report.cores,
            max_rss_mib=report.max_rss_mib,
            details=report.details,
        )
        if arm.events is None and url:
            sample.wrong = wrong_states(arm.program, arm.options.get("consumer", "balance"), url, arm.topic.truth)
        counts = report.details.get("counts")
        if counts is not None:
            self._judge(arm, sample, counts)
        told = f"{sample.rate:>12,.0f}/s" + (f", {sample.wrong} states are wrong" if sample.wrong else "")
        self.tell(number, arm.label, told)
        return sample

    def tell(self, number: int, label: str, told: str) -> None:
        """Say what an arm has just found."""
        self.console.print(f"  round {number + 1}/{self.rounds}  {label:<62}{told}", soft_wrap=True)

    def _judge(self, arm: Arm, sample: Sample, counts: Mapping[str, int]) -> None:
        """A bench that computes a wrong state is a failure."""
        truth = arm.topic.truth
        due = {"received": truth.deliveries, "applied": truth.events, "duplicate": truth.repeated}
        found = {name: counts.get(name, 0) for name in due}
        if found != due or sample.wrong:
            self.wrong.append(f"{arm.label}: {sample.wrong} wrong states; counted {found}, due {due}")

    @contextmanager
    def store(self, kind: str) -> Iterator[str]:
        """The URL of a fresh store, which is gone after the block."""
        # What topics and earlier arms have left to write is not to be written when this one syncs its own.
        os.sync()
        if kind == "postgres":
            url = self.postgres.fresh_database()
            with psycopg.connect(self.postgres.url, autocommit=True) as server:
                # The same of the server's.
                with suppress(psycopg.errors.InsufficientPrivilege):
                    server.execute("checkpoint")
                yield url
                server.execute(f'drop database "{url.rpartition("/")[2]}" with (force)'.encode())
        elif kind == "sqlite":
            path = self.scratch / f"{time.monotonic_ns()}.db"
            yield f"sqlite:///{path}"
            for leftover in self.scratch.glob(f"{path.name}*"):
                leftover.unlink()
        else:
            yield ""

    def part(self, name: str, tables: list[Table], figures: list[Figure], samples: Mapping[str, list[Sample]]) -> Part:
        """What a part found, with all that it takes to judge it."""
        every = [sample for several in samples.values() for sample in several]
        for sample in every:
            sample.details.pop("counts", None)
        wrong, self.wrong = self.wrong, []
        return Part(
            name=name,
            tables=tables,
            figures=figures,
            samples=every,
            wrong=wrong,
            date=datetime.now(UTC).date().isoformat(),
            mode=self.pick("quick", "full"),
            rounds=self.rounds,
            seed=self.options.seed,
            machine=self.machine,
        )


def rotated(items: Sequence[Item], number: int) -> Sequence[Item]:
    """The same, beginning elsewhere in each round."""
    first = number % len(items)
    return [*items[first:], *items[:first]]
