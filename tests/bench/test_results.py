"""What is kept of a run, what its tables say, and that the page shows what is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import limits, show
from bench.page import BEGIN, END, PAGE, rewritten
from bench.results import Figure, Part, Sample, Spread, Table, load, rates, ratio, save

CORES = {"client": 0.1, "database": 0.1, "broker": 0.1, "others": 0.0}


def sample(rate: float, **cores: float) -> Sample:
    return Sample(arm="an arm", round=0, events=1_000, seconds=1_000 / rate, cores=CORES | cores)


def test_a_spread_is_the_median_with_the_range() -> None:
    assert Spread.of([3, 1, 2]) == Spread(2, 1, 3)
    assert Spread.of([3000, 1000, 2000]).shown() == "2,000 (1,000..3,000)"
    assert Spread.of([2.0]).shown(".1f", " ms") == "2.0 ms"


def test_a_ratio_is_taken_round_by_round() -> None:
    """A machine that is slow for one whole round makes no difference between the arms."""
    above, below = [sample(200), sample(20), sample(200)], [sample(100), sample(10), sample(100)]
    assert ratio(above, below) == Spread(2, 2, 2)
    assert rates(above).low == pytest.approx(20)


@pytest.mark.parametrize(("found", "at_most", "reached"), [(3, False, True), (1, False, False), (3, True, False)])
def test_a_figure_is_reached_by_its_median(found: float, at_most: bool, reached: bool) -> None:
    assert Figure(what="it", goal=2, found=Spread(found, 0, 9), at_most=at_most).reached is reached


@pytest.mark.parametrize(
    ("cores", "limit"),
    [
        ({"client": 0.95}, "the client's processor: Python runs on one"),
        ({"database": 0.95}, "the database's processor: a connection is served by one"),
        ({"client": 0.8, "database": 0.8, "broker": limits.CORES}, f"all {limits.CORES} processors are busy"),
        ({}, "waiting for the disk"),
    ],
)
def test_what_limits_an_arm_is_told_from_who_was_busy(cores: dict[str, float], limit: str) -> None:
    assert limits.of([sample(1, **cores)], "the disk") == limit


def test_a_run_beside_other_programs_says_so() -> None:
    found = [sample(1, others=0.8 * limits.CORES)]
    assert "other programs" in limits.of(found, "the disk")
    part = Part(name="it", tables=[], samples=found)
    assert "DISTURBED" in show.circumstances(part)
    assert "DISTURBED" not in show.circumstances(Part(name="it", tables=[], samples=[sample(1)]))


def part() -> Part:
    table = Table(title="it", columns=["arm", "rate", "limited by"], rows=[["ours", "1", "x"]], note="A note.")
    figure = Figure(what="ours", goal=2, found=Spread(3, 3, 3))
    return Part(name="it", tables=[table], figures=[figure], samples=[sample(1)], date="2026-01-01", seed=7)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    assert load(path) == {}
    save({"it": part()}, path)
    assert load(path) == {"it": part()}


def test_the_page_gets_its_tables_between_the_marks(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    save({"it": part()}, path)
    page = rewritten(f"before\n{BEGIN}\nold\n{END}\nafter\n", path)
    assert page.startswith("before\n")
    assert page.endswith("\nafter\n")
    assert "old" not in page
    assert "| ours | 1 | x |" in page
    assert "| ours | ≥ 2 x | 3.00 x | yes |" in page
    assert rewritten(page, path) == page


def test_the_page_shows_what_is_kept() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert rewritten(text) == text, "write it anew: python -m bench.page"
