"""Every broken inorder is found, by the anomaly that is its own; the courses that find them are harmless without it."""

from __future__ import annotations

import pytest

from inorder.proof.anomalies import ANOMALIES
from inorder.proof.course import drawn
from inorder.proof.mutants import MUTANTS, Mutant, worded
from tests.proof.docs import MUTANTS_PAGE, table_of


def test_every_anomaly_has_a_mutant() -> None:
    assert [mutant.anomaly for mutant in MUTANTS] == list(ANOMALIES)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.anomaly} {mutant.name}")
def test_a_mutant_is_caught(mutant: Mutant) -> None:
    caught = next(
        course for course in (mutant.course(seed) for seed in range(mutant.first_seed, 2_000)) if mutant.shows(course)
    )
    assert mutant.world.play(caught).findings == [], "the same course, with everything in place"


def test_the_page_has_a_line_for_each() -> None:
    lines = table_of(MUTANTS_PAGE)
    assert [line[0] for line in lines] == [mutant.anomaly for mutant in MUTANTS]
    assert [line[1] for line in lines] == [mutant.name for mutant in MUTANTS]


def test_a_schedule_is_told_in_words() -> None:
    assert worded(drawn(3, 4)).count(";") >= 3
