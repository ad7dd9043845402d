"""`inorder demo`: the failure that inorder prevents, and how it does, on this machine alone."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from types import FrameType, TracebackType
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from inorder.cli.codes import Exit
from inorder.cli.failing import complain
from inorder.lab.demo import Options, run
from inorder.lab.page import page

AtLeastOne = Number(gte=1)
MOST_WORKERS = 32
"""Two consumers have so many processes each."""
LINE_EVERY_S = 2.0
HAPPENINGS = 6


def demo(
    *,
    seed: Annotated[int, Parameter(help="Makes the stream and its disorder; the same seed repeats them.")] = 42,
    events: Annotated[int, Parameter(validator=AtLeastOne, help="Events that happen; more are delivered.")] = 20_000,
    entities: Annotated[int, Parameter(validator=AtLeastOne, help="Accounts that they happen to.")] = 500,
    workers: Annotated[
        int, Parameter(validator=Number(gte=1, lte=MOST_WORKERS), help="Processes of each of the two consumers.")
    ] = 4,
    as_json: Annotated[bool, Parameter("--json", negative=(), help="Print one document.")] = False,
) -> int:
    """Watch order go wrong, then right: one disordered stream through a naive consumer and through inorder.

    Needs no service. Exits 6 if a state of inorder is wrong.
    """
    return show(Options(seed=seed, events=events, entities=entities, workers=workers), as_json)


def show(options: Options, as_json: bool) -> int:
    """Run the demo and print what it came to; returns the exit code."""
    with _Ending(), Watching() as watching:
        result = run(options, watching)
    if as_json:
        print(msgspec.json.encode(result.document()).decode())
    else:
        console = Console(highlight=False)
        with console.capture() as shown:
            console.print(page(result, console.width, not console.encoding.startswith("utf")))
        print("\n".join(line.rstrip() for line in shown.get().splitlines()))
    if not result.inorder_wrong:
        return Exit.OK
    wrong = f"{len(result.inorder_wrong)} states are wrong under order={options.order}"
    complain(f"{wrong}: look for the cause in {result.kept}, where everything of this run is kept")
    return Exit.FINDINGS


class Watching:
    """Progress on standard error: bars on a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bars = Progress(
            TextColumn("{task.description:9}"), BarColumn(bar_width=40), MofNCompleteColumn(), console=self._console
        )
        self._tasks = {name: self._bars.add_task(name, total=None) for name in ("produced", "naive", "inorder")}
        self._happened: deque[str] = deque(maxlen=HAPPENINGS)
        self._began = self._said = time.monotonic()
        self._live = Live(console=self._console, transient=True, get_renderable=self._render)

    def __enter__(self) -> Watching:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def progress(self, produced: int, of: int, done: Mapping[str, int]) -> None:
        """See `inorder.lab.contest.Audience`."""
        counts = {"produced": produced, **done}
        for name, count in counts.items():
            self._bars.update(self._tasks[name], completed=count, total=of)
        if not self._console.is_terminal and time.monotonic() - self._said > LINE_EVERY_S:
            self._say(", ".join(f"{name} {count:,} of {of:,}" for name, count in counts.items()))

    def tell(self, what: str) -> None:
        """See `inorder.lab.contest.Audience`."""
        self._happened.append(f"{time.monotonic() - self._began:4.1f} s  {what}")
        if not self._console.is_terminal:
            self._say(what)

    def _say(self, what: str) -> None:
        self._said = time.monotonic()
        print(f"{self._said - self._began:5.1f} s  {what}", file=sys.stderr)

    def _render(self) -> Group:
        return Group(self._bars, Text("\n".join(self._happened), style="dim"))


class _Ending:
    """Within the block, SIGTERM ends the demo as Ctrl-C does: its processes and files go too."""

    def __enter__(self) -> None:
        self._before: Any = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._end)

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    @staticmethod
    def _end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)
