"""The experiments of `inorder lab`. Each is one file with one function, `run(request) -> Result`."""

from __future__ import annotations

import time
from importlib import import_module

import msgspec

from inorder import __version__
from inorder.errors import UsageError
from inorder.lab.results import Plot, Request, Result, Table, Verdict

EXPERIMENTS = {
    "concurrency": "Many entities at once, each in order, although its events arrive out of order.",
    "duplicates": "Events are sent twice, handed out twice and tried twice: the naive consumer applies them twice.",
    "ablation": "Each mechanism is taken away in turn, against each class of disorder: which entities end wrong?",
    "guards": "Which guard is safe for which operation? Every small history, arriving in every order, decides.",
    "dlq": "An event fails, live traffic goes on, the dead letter is replayed: what that can break, and how not.",
    "repartition": "A topic grows under load, and the key is chosen well or badly: the disorder, and what it costs.",
    "brokers": "One disordered stream through three brokers: the same states, and the same decisions of the guard.",
    "ceiling": "How fast one key can be on Kafka and on SQS, by the length of the connection.",
}
"""Name to what it shows. The module has the name."""

ON = {
    "concurrency": ("embedded", "kafka", "sqs"),
    "duplicates": ("embedded", "kafka"),
    "ablation": ("embedded",),
    "guards": ("embedded",),
    "dlq": ("embedded", "kafka"),
    "repartition": ("embedded", "kafka"),
    "brokers": ("embedded",),
    "ceiling": ("embedded",),
}
"""Name to the brokers that it runs on. Where several consumers read the same events, a queue will not do."""

NEEDS = {"brokers", "ceiling"}
"""Those that compare brokers, and need a Kafka and an SQS."""


def run(name: str, request: Request) -> Result:
    """Run one experiment."""
    if name in NEEDS and (request.kafka is None or request.sqs is None):
        raise UsageError(f"{name} compares brokers: add --kafka HOST:PORT and --sqs http://HOST:PORT")
    if request.broker not in ON[name]:
        raise UsageError(f"{name} runs on {' and '.join(ON[name])}: leave out --broker {request.broker}")
    began = time.monotonic()
    found: Result = import_module(f"{__name__}.{name}").run(request)
    return msgspec.structs.replace(found, elapsed_s=round(time.monotonic() - began, 1))


def result(
    name: str,
    request: Request,
    setting: str,
    tables: list[Table],
    plots: list[Plot],
    verdicts: list[Verdict],
    options: str = "",
) -> Result:
    """What the experiment `name` found."""
    return Result(
        experiment=name,
        question=EXPERIMENTS[name],
        broker=request.broker,
        seed=request.seed,
        version=__version__,
        setting=setting,
        options=options,
        tables=tables,
        plots=plots,
        verdicts=verdicts,
    )
