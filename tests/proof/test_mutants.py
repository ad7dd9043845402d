"""Every broken inorder is found, by the anomaly that is its own; the courses that find them are harmless without it."""

from __future__ import annotations

import pytest

from inorder.proof.anomalies import ANOMALIES
from inorder.proof.course import drawn
from inorder.proof.mutants import MUTANTS, Mutant, worded
from inorder.proof.swarm import play
from tests.proof.docs import MUTANTS_PAGE, table_of


def test_every_anomaly_has_a_mutant() -> None:
    assert {mutant.anomaly for mutant in MUTANTS} | {"S10"} == set(ANOMALIES), "S10 is that of lanes: see test_claim"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.anomaly} {mutant.name}")
def test_a_mutant_is_caught(mutant: Mutant) -> None:
    caught = next(
        course
        for course in (drawn(seed, 20) for seed in range(mutant.first_seed, 2_000))
        if mutant.anomaly in {one.anomaly for one in play(course, mutant.parts).findings}
    )
    assert play(caught).findings == [], "the same course, with everything in place"


def test_the_page_has_a_line_for_each() -> None:
    lines = table_of(MUTANTS_PAGE)
    assert [line[0] for line in lines] == [mutant.anomaly for mutant in MUTANTS]
    assert [line[1] for line in lines] == [mutant.name for mutant in MUTANTS]


def test_a_schedule_is_told_in_words() -> None:
    assert worded(drawn(3, 4)).count(";") >= 3
