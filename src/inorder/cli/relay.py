"""`inorder relay`: publish an outbox."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from inorder.cli.codes import Exit
from inorder.cli.failing import one_line
from inorder.cli.stopping import Stopping
from inorder.observe.log import log_to_stderr
from inorder.producing.outbox import DEFAULT_NAME
from inorder.producing.relay import LEASE_S, Relay
from inorder.wiring import check_sink, check_store


def relay(
    *,
    store: Annotated[str, Parameter(help="The outbox's database: postgresql://… or sqlite:///path.db")],
    to: Annotated[str, Parameter(help="kafka://host:port/TOPIC, sqs://QUEUE.fifo or embedded://path.db/TOPIC")],
    outbox: Annotated[str, Parameter(help="Which outbox, where the database has several.")] = DEFAULT_NAME,
    keep_days: Annotated[
        float, Parameter(validator=Number(gte=0), help="Keep published events for so long; 0 removes them at once.")
    ] = 0.0,
    until_idle: Annotated[
        float | None, Parameter(validator=Number(gt=0), help="Seconds with nothing to publish after which to end.")
    ] = None,
    as_json: Annotated[bool, Parameter("--json", negative=(), help="Print one closing document.")] = False,
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Parameter(help="What is logged.")] = "info",
) -> int:
    """Publish what is committed in an outbox: each entity's events in the order of their versions.

    Start as many as you like: they share the keys out, and take over from one that died. An event may be published
    again after a crash, under the same id. Exit code 5 says that the broker did not take some events; they stay.
    """
    log_to_stderr(log_level)
    check_store(store)
    check_sink(to)
    working = Relay(store, to, outbox=outbox, keep_days=keep_days)
    with Stopping(working.stop, 3 * LEASE_S) as stopping:
        found = working.run(until_idle)
    if as_json:
        print(msgspec.json.encode(found).decode())
    else:
        unsent = "how many are not is not known: the database does not answer"
        print(f"{found.published} published, {unsent if found.unsent < 0 else f'{found.unsent} not published'}")
        for key, why in found.stopped.items():
            print(one_line(f"{key}: {why}"))
    if stopping.interrupted:
        return Exit.INTERRUPTED
    return Exit.PARTIAL if found.stopped else Exit.OK
