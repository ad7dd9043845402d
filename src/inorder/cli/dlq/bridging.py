"""`inorder dlq import` and `inorder dlq export`."""

from __future__ import annotations

import threading
import time
from typing import Annotated

import msgspec
from cyclopts import Parameter

from inorder.cli.codes import Exit
from inorder.cli.dlq.asking import (
    DEFAULT_STORE,
    Json,
    Store,
    Stream,
    Who,
    Why,
    Yes,
    ask_reason,
    check_terminal,
    confirm,
)
from inorder.cli.dlq.words import count, harmless, print_json
from inorder.cli.stopping import Stopping
from inorder.cli.streams import open_stream
from inorder.deadletters.bridges import exporting, importing
from inorder.deadletters.operating import Operator
from inorder.deadletters.who import who
from inorder.wiring import check_sink, check_source
from inorder.worker.loading import load_consumer

LIMIT_S = 30.0


def import_letters(
    consumer: Annotated[str, Parameter(help="MODULE:NAME of the consumer they are for (bank.py:balance)")],
    /,
    *,
    source: Annotated[
        str, Parameter("--from", help="kafka://host:port/TOPIC, sqs://QUEUE.fifo or embedded://path.db/TOPIC")
    ],
    of_group: Annotated[str | None, Parameter(help="Only what this consumer group gave up on")] = None,
    store: Store = DEFAULT_STORE,
    reason: Why = None,
    yes: Yes = False,
    by: Who = None,
    as_json: Json = False,
) -> int:
    """Take over dead letters that others wrote to a topic or queue.

    Each becomes a letter once, with its own key, version, id and position: those
    of Spring's kafka_dlt-original-* headers, where it has them. The topic is read
    to its end; the next import goes on there. A dead-letter queue of SQS is read
    until it is empty: what is a letter here is deleted there. No key is parked by
    it.
    """
    check_terminal(yes, reason)
    check_source(source)
    function = load_consumer(consumer)
    why = ask_reason(reason)
    confirm(f"Take over the dead letters of {source.partition('?')[0]}?", yes)
    stop = threading.Event()
    operator = Operator(by or who(), why, time.time())
    with Stopping(stop.set, LIMIT_S) as stopping:
        found = importing.import_letters(function, store, source, operator, of_group=of_group, stop=stop)
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        print(f"{count(found.read, 'record')} read, {count(found.imported, 'new letter')}")
        if found.known:
            print(f"{found.known:,} were here already")
        if found.of_others:
            print(f"{found.of_others:,} were given up on by other groups")
        if found.unreadable:
            print(f"{found.unreadable:,} of the new letters cannot be read by this consumer")
    return Exit.INTERRUPTED if stopping.interrupted else Exit.OK


def export_letters(
    *,
    to: Annotated[str, Parameter(help="The topic: kafka://host:port/TOPIC or embedded://path.db/TOPIC")],
    again: Annotated[
        bool, Parameter(negative=(), show_default=False, help="All letters, not only those since the last export")
    ] = False,
    store: Store = DEFAULT_STORE,
    stream: Stream = None,
    reason: Why = None,
    yes: Yes = False,
    by: Who = None,
    as_json: Json = False,
) -> int:
    """Copy letters to a topic, for those who watch one.

    The letters stay here, and are replayed from here. A copy has the record as it
    was received, with Spring's kafka_dlt-* headers and its letter's number. Run it
    again for the letters since the last time.
    """
    check_terminal(yes, reason)
    check_sink(to)
    why = ask_reason(reason)
    look = open_stream(store, stream)
    try:
        confirm(f"Copy letters of stream {look.stream} to {to.partition('?')[0]}?", yes)
        stop = threading.Event()
        operator = Operator(by or who(), why, time.time())
        with Stopping(stop.set, LIMIT_S) as stopping:
            found = exporting.export_letters(look, to, operator, again=again, stop=stop)
    finally:
        look.close()
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        print(f"{count(found.copied, 'letter')} copied to {harmless(to.partition('?')[0])}")
    return Exit.INTERRUPTED if stopping.interrupted else Exit.OK
