"""The document of `inorder demo --json`: what was injected was caught, the books balance, and inorder is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inorder.cli import main
from tests.demo.command import Said, demo

pytestmark = pytest.mark.xdist_group("demo's document")
OUTCOMES = ["applied", "duplicate", "stale", "held", "parked", "conflict", "late", "dead_lettered", "replayed"]
INJECTED = [
    "producer_retries",
    "duplicates",
    "late_arrivals",
    "worker_killed",
    "worker_frozen",
    "partition_growth",
    "poison_events",
]


@pytest.fixture(scope="module", params=[1, 2, 3], ids=lambda seed: f"seed {seed}")
def said(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Said:
    folder = tmp_path_factory.mktemp("demo") / "a folder, 100%25?"
    folder.mkdir()
    found = demo(
        folder, "--json", "--seed", str(request.param), "--events", "600", "--entities", "12", "--workers", "2"
    )
    assert found.code == 0, found.err
    assert list(folder.iterdir()) == [], "nothing is left behind"
    return found


@pytest.fixture(scope="module")
def document(said: Said) -> dict[str, Any]:
    return said.document


def total(document: dict[str, Any], mechanism: str) -> int:
    return sum(counts.get(mechanism, 0) for counts in document["caught_by"].values())


def test_naive_is_wrong_and_inorder_is_right(document: dict[str, Any]) -> None:
    assert document["naive"]["wrong_entities"] >= 6
    assert document["inorder"]["wrong_entities"] == 0
    assert document["inorder"]["effects"] == document["events"]


def test_the_document_has_exactly_these_keys(document: dict[str, Any]) -> None:
    assert list(document) == [
        "seed",
        "events",
        "entities",
        "workers",
        "delivered",
        "peak_in_flight",
        "disorder",
        "naive",
        "inorder",
        "caught_by",
        "elapsed_s",
    ]
    assert list(document["inorder"]["outcomes"]) == OUTCOMES
    assert list(document["disorder"])[: len(INJECTED)] == INJECTED
    assert set(document["caught_by"]) == set(document["disorder"])


def test_every_delivery_has_one_outcome_and_none_is_left_waiting(document: dict[str, Any]) -> None:
    outcomes = document["inorder"]["outcomes"]
    assert sum(outcomes.values()) == document["delivered"]
    assert [name for name in OUTCOMES if outcomes[name]] == ["applied", "duplicate", "replayed"]


def test_each_class_of_disorder_was_there(document: dict[str, Any]) -> None:
    assert [name for name in INJECTED if not document["disorder"][name]] == []
    assert document["delivered"] > document["events"]


def test_what_the_logs_say_was_caught_is_what_the_store_counted(document: dict[str, Any]) -> None:
    ours = document["inorder"]
    assert total(document, "idempotence") == ours["outcomes"]["duplicate"]
    assert total(document, "hold") + total(document, "park") == ours["waited"]
    assert total(document, "dead_letter") == ours["outcomes"]["replayed"]


def test_each_class_met_its_mechanism(document: dict[str, Any]) -> None:
    caught = document["caught_by"]
    assert caught["duplicates"]["idempotence"] >= document["disorder"]["duplicates"]
    assert caught["worker_killed"]["idempotence"] > 0
    assert caught["worker_frozen"]["fence"] > 0
    assert set(caught["late_arrivals"]) <= {"hold", "partition_or_lane"}
    assert sum(caught["late_arrivals"].values()) > 0
    assert caught["poison_events"]["dead_letter"] > 0


def test_several_entities_were_in_flight_at_once(document: dict[str, Any]) -> None:
    assert 2 <= document["peak_in_flight"] <= document["entities"]


def test_progress_goes_to_standard_error_and_is_plain(said: Said) -> None:
    assert "killed, and started again" in said.err
    assert "the bug is fixed" in said.err
    assert "\x1b" not in said.err


@pytest.mark.parametrize(("events", "entities", "workers"), [(1, 1, 1), (5, 50, 1), (40, 1, 3)])
def test_a_tiny_run_is_one_like_any_other(tmp_path: Path, events: int, entities: int, workers: int) -> None:
    sizes = ["--events", str(events), "--entities", str(entities), "--workers", str(workers)]
    document = demo(tmp_path, "--json", *sizes).document
    assert document["naive"]["wrong_entities"] > 0
    assert document["inorder"]["wrong_entities"] == 0
    assert sum(document["inorder"]["outcomes"].values()) == document["delivered"]
    assert document["inorder"]["effects"] == events


@pytest.mark.parametrize("option", ["--events", "--entities", "--workers"])
@pytest.mark.parametrize("value", ["0", "-5", "many"])
def test_misuse_is_one_line_and_exit_2(capsys: pytest.CaptureFixture[str], option: str, value: str) -> None:
    assert main(["demo", option, value]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("inorder: ")
    assert said.err.count("\n") == 1
    assert option in said.err
