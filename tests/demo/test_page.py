"""The page: fits 80 columns, plain in a pipe, ASCII where need be, and its numbers are those of the run."""

from __future__ import annotations

import pytest
from rich.console import Console

from inorder.lab.demo import Options, Result, run
from inorder.lab.page import page

pytestmark = pytest.mark.xdist_group("demo's page")


class Deaf:
    def progress(self, *_: object) -> None: ...
    def tell(self, what: str) -> None: ...


@pytest.fixture(scope="module")
def result() -> Result:
    return run(Options(seed=4, events=800, entities=20, workers=2), Deaf())


def shown(result: Result, width: int, ascii_only: bool = False) -> str:
    console = Console(width=width, highlight=False, color_system=None)
    with console.capture() as capture:
        console.print(page(result, width, ascii_only))
    return capture.get()


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits(result: Result, width: int) -> None:
    lines = shown(result, width).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) < 70


def test_it_says_who_is_wrong_and_how_to_repeat_it(result: Result) -> None:
    text = shown(result, 80)
    assert f"naive    {len(result.naive_wrong)} of 20 accounts" in text
    assert "inorder  0 of 20 accounts" in text
    assert "inorder demo --seed 4 --events 800 --entities 20 --workers 2" in text


def test_it_names_each_class_that_there_was_with_what_caught_it(result: Result) -> None:
    text = shown(result, 120)
    for words in "resent behind", "sent twice", "came late", "killed", "zombie", "partitions became", "failed on a bug":
        assert words in text
    assert "fence" in text
    assert f"dead letter {result.outcomes['replayed']}" in text


def test_the_run_log_shows_several_accounts_in_flight_at_the_same_time(result: Result) -> None:
    assert result.moment is not None
    flights = result.moment.shown
    assert len({one.entry.account for one in flights}) == len(flights) > 1
    assert all(one.received_at <= result.moment.at < (one.settled_at or 0) for one in flights)
    assert result.moment.entities <= result.peak_in_flight


def test_the_timeline_is_of_an_account_that_naive_has_wrong(result: Result) -> None:
    found = result.timeline
    assert found is not None
    assert found.account in result.naive_wrong
    assert found.naive != found.truth == found.inorder
    effects = [row.effect.version for row in found.rows if row.effect is not None]
    arrivals = [row.arrived.version for row in found.rows if row.arrived is not None]
    assert effects == sorted(set(effects))
    assert arrivals != sorted(set(arrivals))


def test_ascii_is_enough(result: Result) -> None:
    assert shown(result, 80, ascii_only=True).isascii()
