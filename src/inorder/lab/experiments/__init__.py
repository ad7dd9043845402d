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
}
"""Name to what it shows. The module has the name."""

ON = {
    "concurrency": ("embedded", "kafka", "sqs"),
    "duplicates": ("embedded", "kafka"),
    "ablation": ("embedded",),
    "guards": ("embedded",),
    "dlq": ("embedded", "kafka"),
    "repartition": ("embedded", "kafka"),
}
"""Name to the brokers that it runs on. Where several consumers read the same events, a queue will not do."""


def run(name: str, request: Request) -> Result:
    """Run one experiment."""
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
) -> Result:
    """What the experiment `name` found."""
    return Result(
        experiment=name,
        question=EXPERIMENTS[name],
        broker=request.broker,
        seed=request.seed,
        version=__version__,
        setting=setting,
        tables=tables,
        plots=plots,
        verdicts=verdicts,
    )
