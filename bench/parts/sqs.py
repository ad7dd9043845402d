"""SQS FIFO on an emulator: the library beside a bare loop of boto3 that makes the same calls and does nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from bench import limits
from bench.arms.task import Report, Task
from bench.measure import Bench, rotated
from bench.parts.common import columns, row, times
from bench.process import Process
from bench.results import Figure, Part, Sample, Table, ratio
from bench.states import wrong_states
from bench.workload import Entry, Truth
from inorder.wiring import open_sink
from tests.services import ElasticMQ

GOAL = 0.9
BARE, OURS = "bare receive and delete, boto3", "inorder fold, SQLite"
PROGRAMS = {BARE: "queue-bare", OURS: "queue-inorder"}
KEYS = 400
"""Their messages take turns, so that no arm waits for the next one of a group, which comes when the one before it is
deleted. With thousands of groups the emulator itself becomes slow."""


def run(bench: Bench) -> Part:
    """Both arms in each round, each on a queue of its own with the same messages."""
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "bench")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "bench")
    found: dict[str, list[Sample]] = {BARE: [], OURS: []}
    each = bench.pick(15, 40)
    with ElasticMQ.from_environment() as sqs:
        services = {} if sqs._process is None else {"broker": sqs._process.pid}
        for number in range(bench.rounds):
            for label in rotated(list(PROGRAMS), number):
                with _filled(sqs, each) as (url, truth):
                    found[label].append(_once(bench, label, url, truth, services, number))
    rows = [
        row(label, found[label], limits.of(found[label], "the emulator"), times(found[label], found[BARE]))
        for label in PROGRAMS
    ]
    table = Table(
        title="SQS FIFO (ElasticMQ on this machine): ten messages a request, 8 requests at once",
        columns=columns("of the bare loop"),
        rows=rows,
        note=f"{KEYS * each:,} messages of {KEYS} groups, from the first one given out to the last deletion. The "
        "emulator shares the processors with its client; on the service the network is the limit of both.",
    )
    figure = Figure(
        what="SQS FIFO, fold, of a bare receive-delete loop", goal=GOAL, found=ratio(found[OURS], found[BARE])
    )
    return bench.part("sqs", [table], [figure], found)


@contextmanager
def _filled(sqs: ElasticMQ, each: int) -> Iterator[tuple[str, Truth]]:
    """A queue with so many messages of every key."""
    name, truth = f"bench-{time.monotonic_ns()}.fifo", Truth(KEYS)
    queue = sqs.create_fifo(name, 60)
    url = f"sqs://{name}?endpoint={sqs.endpoint}&region=us-east-1&wait_s=1"
    sink = open_sink(url)
    for version in range(1, each + 1):
        sink.send([_record(truth, number, version) for number in range(KEYS)])
    sink.flush()
    sink.close()
    yield url, truth
    sqs.client.delete_queue(QueueUrl=queue)


def _record(truth: Truth, number: int, version: int) -> tuple[bytes, bytes]:
    """One message, noted in the truth."""
    entry = Entry(id=f"{number}-{version}", entity=f"account-{number:07d}", version=version, amount=version % 7 - 3)
    truth.versions[number] = version
    truth.totals[number] += entry.amount
    truth.deliveries += 1
    return entry.entity.encode(), msgspec.json.encode(entry)


def _once(bench: Bench, label: str, url: str, truth: Truth, services: dict[str, int], number: int) -> Sample:
    store = "sqlite" if label == OURS else ""
    with bench.store(store) as where:
        task = Task(source=url, events=truth.deliveries, store=where, services=services, idle_s=0.5)
        with Process(PROGRAMS[label], task) as process:
            report = process.report()
        sample = _sample(label, number, report)
        if where:
            sample.wrong = wrong_states("inorder", "balance", where, truth)
            if sample.wrong or report.details["counts"].get("applied") != truth.events:
                bench.wrong.append(f"{label}: {sample.wrong} wrong states, counted {report.details['counts']}")
    bench.tell(number, label, f"{sample.rate:>12,.0f}/s")
    return sample


def _sample(label: str, number: int, report: Report) -> Sample:
    return Sample(arm=label, round=number, events=report.events, seconds=round(report.seconds, 4), cores=report.cores)
