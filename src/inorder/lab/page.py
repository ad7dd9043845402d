"""What `inorder demo` shows at the end: a page that a stranger can follow, at 80 columns and more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from inorder.lab.accounts import Entry
from inorder.lab.caught import Mechanism
from inorder.lab.demo import REPLAYED, Result
from inorder.lab.disorder import Class
from inorder.lab.flight import Moment
from inorder.lab.timeline import Row, Timeline

WIDEST = 110
_BAD, _GOOD, _DIM, _HEAD = "bold red", "bold green", "dim", "bold"
_MECHANISMS = {
    Mechanism.HOLD: "hold",
    Mechanism.LANE: "lane",
    Mechanism.IDEMPOTENCE: "idempotence",
    Mechanism.GUARD: "version guard",
    Mechanism.FENCE: "fence",
    Mechanism.DEAD_LETTER: "dead letter",
    Mechanism.PARK: "park",
}
_GLOSSARY = (
    "hold: kept in the store until the versions before it have come. lane: one account's events wait in line. "
    "idempotence: had taken effect before, skipped. version guard: the account had changed meanwhile, so decided "
    "again. fence: the worker had lost the partition. park: kept behind a dead letter."
)
_OURS = {
    "duplicate": "duplicate, skipped",
    "held": "held: v{expected} is missing",
    "parked": "parked: v{expected} failed",
    "dead_lettered": "failed: dead letter",
}


def page(result: Result, width: int, ascii_only: bool = False) -> RenderableType:
    """The whole page."""
    parts = [_intro(result), _disorder(result)]
    if result.moment is not None:
        parts.append(_flights(result, result.moment, min(width, WIDEST), ascii_only))
    if result.timeline is not None:
        parts.append(_timeline(result.timeline))
    parts += [_outcomes(result), _verdict(result)]
    return Group(*(line for part in parts for line in (part, Text())))


def _intro(result: Result) -> RenderableType:
    options = result.options
    return Text.assemble(
        (f"{options.events:,} credits, debits and refunds of {_accounts(result.present)}", _HEAD),
        " went through an embedded broker, some of them late, twice or out of order. Two consumers, "
        f"{_count(options.workers, 'process', 'processes')} each, read them as they came. ",
        ("naive", _HEAD),
        " adds each event to its account and then commits the offset. ",
        ("inorder", _HEAD),
        " lets an event take effect only if it has the account's next version, which it checks in the transaction "
        "that writes the balance.",
    )


def _disorder(result: Result) -> RenderableType:
    table = _table()
    table.add_column("what went wrong", header_style=_HEAD)
    table.add_column("caught in inorder by (events)", header_style=_HEAD)
    for why, words in _classes(result):
        caught = result.caught[why]
        counts = [f"{name} {caught[mechanism]:,}" for mechanism, name in _MECHANISMS.items() if caught.get(mechanism)]
        if why is Class.POISON and result.outcomes[REPLAYED]:
            counts.append(f"replayed {result.outcomes[REPLAYED]:,}")
        table.add_row(words, ", ".join(counts) or "nothing to catch")
    return Group(table, Text(_GLOSSARY, style=_DIM))


def _classes(result: Result) -> Iterator[tuple[Class, str]]:
    """A line for each class of disorder that there was."""
    much, plan, (before, after) = result.disorder, result.script, result.partitions
    words = {
        Class.RETRY: f"{_count(plan.retried, 'batch', 'batches')} resent behind later ones",
        Class.DUPLICATE: f"{_count(much[Class.DUPLICATE], 'event')} sent twice",
        Class.LATE: f"{_count(much[Class.LATE], 'event')} came late",
        Class.KILL: f"{_count(much[Class.KILL], 'worker')} killed, offsets not committed",
        Class.FREEZE: f"{_count(much[Class.FREEZE], 'worker')} frozen, and back as a zombie",
        Class.GROWTH: f"{before} partitions became {after}, {_count(much[Class.GROWTH], 'key')} moved",
        Class.REBALANCE: "partitions changed hands meanwhile",
        Class.POISON: f"{_count(much[Class.POISON], 'event')} failed on a bug, then fixed",
        Class.OVERLAP: "events of one account at the same time",
    }
    return ((why, line) for why, line in words.items() if much[why])


def _flights(result: Result, moment: Moment, width: int, ascii_only: bool) -> RenderableType:
    since = min(one.received_at for one in moment.shown)
    until = max(one.settled_at or since for one in moment.shown)
    table = _table()
    for name in ("worker", "account", "event"):
        table.add_column(name, header_style=_DIM, no_wrap=True)
    for name in ("received", "decided", "committed"):
        table.add_column(name, justify="right", header_style=_DIM)
    table.add_column(f"{1000 * (until - since):.0f} ms", header_style=_DIM, no_wrap=True)
    names = max(len(one.entry.account) + len(_short(one.entry)) for one in moment.shown)
    room = max(10, width - names - 43)
    for one in moment.shown:
        times = [1000 * ((at or since) - since) for at in (one.received_at, one.decided_at, one.settled_at)]
        start, dot, end = (min(room - 1, int(room * ms / (1000 * (until - since) or 1))) for ms in times)
        line, point = ("-", "o") if ascii_only else ("━", "●")
        bar = " " * start + line * (dot - start) + point + line * (end - dot)
        table.add_row(one.worker, one.entry.account, _short(one.entry), *(f"{ms:.1f}" for ms in times), bar)
    head = Text.assemble(
        (f"{_accounts(moment.entities)} in flight at once", _HEAD),
        f" in {_count(moment.workers, 'worker')} of inorder, {moment.at - moment.began:.1f} s into its run:",
    )
    foot = (
        "Times in ms, from its log. In flight: received by a worker, and what it decided not yet committed. "
        f"The most at once: {_accounts(result.peak_in_flight)}."
    )
    return Group(head, table, Text(foot, style=_DIM))


def _timeline(found: Timeline) -> RenderableType:
    table = _table()
    table.add_column("arrives", header_style=_DIM)
    for name in ("naive", "inorder"):
        table.add_column(name, justify="right", header_style=_DIM)
        table.add_column("")
    if found.before:
        table.add_row(Text(f"({_count(found.before, 'step')} before)", style=_DIM))
    for place, row in enumerate(found.rows):
        before = found.rows[place - 1] if place else None
        table.add_row(
            "" if row.arrived is None else _short(row.arrived),
            *_theirs(row, before, _settled(found.rows, place)),
            f"{row.balance:,}",
            _decision(row, before),
        )
    if found.after:
        table.add_row(Text(f"({_count(found.after, 'step')} more)", style=_DIM))
    right = found.truth.balance
    ends = [Text(f"{one:,}", _GOOD if one == right else _BAD) for one in (found.naive.balance, found.inorder.balance)]
    verdicts = ["right" if one == right else "wrong" for one in (found.naive.balance, found.inorder.balance)]
    table.add_row("in the end", ends[0], verdicts[0], ends[1], verdicts[1])
    head = Text.assemble((found.account, _HEAD), ": what arrived, in that order, and the balance after it:")
    return Group(head, table)


def _decision(row: Row, before: Row | None) -> str:
    if row.arrived is None and row.effect is not None:
        return f"now {_short(row.effect)}"
    if row.effect is not None:
        return _declined(row.effect, row.balance, before.balance if before else None) or "applied"
    return _OURS.get(row.outcome or "", row.outcome or "").format(expected=row.expected)


def _declined(entry: Entry | None, balance: int | None, before: int | None) -> str:
    """A debit that changed nothing was not covered."""
    return "declined" if entry is not None and entry.kind == "debit" and balance == before is not None else ""


def _theirs(row: Row, before: Row | None, right: int) -> tuple[Text, str]:
    """The naive balance, and what is to be said of it."""
    if row.failed:
        return Text(), "failed"
    if row.naive is None:
        return Text(), ""
    said = _declined(row.arrived, row.naive, before.naive if before else None)
    if row.naive == right:
        return Text(f"{row.naive:,}"), said
    return Text(f"{row.naive:,}", style=_BAD), f"{said}, wrong" if said else "wrong"


def _settled(rows: Sequence[Row], place: int) -> int:
    """inorder's balance after a row and what it set free."""
    balance = rows[place].balance
    for row in rows[place + 1 :]:
        if row.arrived is not None:
            break
        balance = row.balance
    return balance


def _outcomes(result: Result) -> RenderableType:
    some = [f"{name.replace('_', '-')} {count:,}" for name, count in result.outcomes.items() if count]
    none = [name.replace("_", "-") for name, count in result.outcomes.items() if not count]
    return Text.assemble(
        (f"{result.delivered:,} deliveries to inorder, one outcome each: ", _HEAD),
        ", ".join(some),
        f". None: {', '.join(none)}. " if none else ". ",
        f"On the way, {result.waited:,} were held or parked.",
    )


def _verdict(result: Result) -> RenderableType:
    options = result.options
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, wrong, effects in (
        ("naive", result.naive_wrong, result.naive_effects),
        ("inorder", result.inorder_wrong, result.inorder_effects),
    ):
        found = Text(f"{len(wrong):,} of {_accounts(result.present)}", style=_BAD if wrong else _GOOD)
        table.add_row(f"  {name}", found, f"{effects:,} effects of {_count(options.events, 'event')}")
    head = Text.assemble(("Accounts with a wrong balance", _HEAD), " (the oracle: each event once, in order)")
    again = (
        f"inorder demo --seed {options.seed} --events {options.events} "
        f"--entities {options.entities} --workers {options.workers}"
    )
    repeat = Text.assemble((f"Again ({result.elapsed_s:.0f} s): ", _DIM), again)
    same = Text("The same events, disorder and truth; which worker gets which event differs.", _DIM)
    return Group(head, table, repeat, same)


def _short(entry: Entry) -> str:
    return f"v{entry.version} {entry.kind} {entry.amount}"


def _accounts(number: int) -> str:
    return _count(number, "account")


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
