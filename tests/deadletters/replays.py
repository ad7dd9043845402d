"""A bench whose dead letters can be replayed, and a consumer that can be mended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import inorder
from inorder.core.order import Outcome
from inorder.core.rows import Counter
from inorder.deadletters.driver import Options
from inorder.deadletters.replay import replay
from inorder.deadletters.results import Summary
from tests.worker.bench import Bench
from tests.worker.consumers import Entry


class Fault:
    """What is wrong with a handler: it fails for these events until somebody mends it."""

    def __init__(self, *bad: tuple[str, int], error: type[Exception] = inorder.Poison) -> None:
        self.bad = set(bad)
        self.error = error

    def __call__(self, entry: Entry) -> None:
        if (entry.key, entry.version) in self.bad:
            raise self.error(f"{entry.key} {entry.version} is bad")

    def mend(self, *good: tuple[str, int]) -> None:
        """Of these events; of all, by default."""
        self.bad -= set(good) or set(self.bad)


class ReplayBench(Bench):
    """See `Bench`."""

    @property
    def url(self) -> str:
        """The store's."""
        return f"sqlite:///{self.path}"

    def replay(self, function: Callable[..., Any], options: Options | None = None, **chosen: Any) -> Summary:
        """Replay open letters, and check that what is reported adds up."""
        summary = replay(function, self.url, options=options, actor="tester", reason="test", **chosen)
        check_sums(summary)
        return summary

    def outcomes(self, tallies: Sequence[int] | None = None) -> dict[str, int]:
        counts = self.look.counts(tallies)
        names = (*Outcome, Counter.REPLAYED)
        return {name.value: counts[name] for name in names if counts.get(name)}


def check_sums(summary: Summary) -> None:
    """selected = applied + duplicate + skipped + failed (+ what was not tried)."""
    sums = summary.sums
    assert sums.selected == sums.applied + sums.duplicate + sums.skipped + sums.failed + sums.pending
    assert sums.selected - sums.pending == sum(sums.results.values())
    if summary.stopped is None:
        assert sums.pending == 0


def results(summary: Summary) -> list[tuple[str | None, int | None, str]]:
    """Key, version and result of each letter, in the order they were tried."""
    return [(one["key"], one["version"], one["result"]) for one in summary.letters]
