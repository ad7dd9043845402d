"""`inorder.testing` and the pytest fixtures, as users have them."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inorder.testing import Disproved, NotKnown, disordered, disorders, prove, replay
from tests.proof.consumers import Entry, listing, total
from tests.proof.test_proving import consumer_of

USERS_TESTS = """
import inorder
from typing import Any

@inorder.fold(key="account", version="version", id="id", order="latest")
def deltas(state: int | None, event: dict[str, Any]) -> int:
    return (state or 0) + event["amount"]

EVENTS = [{"id": str(n), "account": "x", "version": n, "amount": n} for n in (1, 2, 3)]

def test_deltas(prove):
    prove(deltas, events=EVENTS, seconds=100)

def test_disorder(disordered):
    assert sorted(disordered(EVENTS, seed=3, duplicates=0), key=str) == EVENTS
"""


def test_the_fixtures_are_there_and_a_failure_shows_the_schedule(tmp_path: Path) -> None:
    (tmp_path / "test_users.py").write_text(USERS_TESTS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert "1 failed, 1 passed" in ran.stdout, ran.stdout + ran.stderr
    assert "x v2 is delivered" in ran.stdout
    assert "S20 non-confluent" in ran.stdout


def test_the_plugin_loads_nothing_heavy() -> None:
    program = "import inorder.pytest_plugin, sys; print(*sys.modules)"
    loaded = set(subprocess.check_output([sys.executable, "-c", program], text=True).split())
    assert loaded & {"hypothesis", "sqlite3", "inorder.proof", "inorder.testing", "asyncio", "rich"} == set()


@pytest.mark.usefixtures("few_scopes")
def test_prove_passes_a_good_consumer(prove: Callable[..., Any]) -> None:
    assert prove(total, seconds=100.0).verdict == "proved"


def test_prove_fails_with_the_report_and_replay_with_the_trace() -> None:
    deltas = consumer_of("orders.py:deltas")
    with pytest.raises(Disproved) as failure:
        prove(deltas)
    report = str(failure.value)
    assert "a v2 is delivered" in report
    token = report.split("--replay ")[1].split(maxsplit=1)[0]
    with pytest.raises(Disproved, match="S20 non-confluent"):
        replay(deltas, token)
    replay(total, token)


def test_no_verdict_is_no_pass() -> None:
    with pytest.raises(NotKnown):
        prove(total, seconds=0.001)


@pytest.mark.usefixtures("few_scopes")
def test_payloads_are_drawn_from_a_strategy() -> None:
    floor = consumer_of("orders.py:floor")
    prove(floor, payloads=st.fixed_dictionaries({"amount": st.integers(0, 9)}), seconds=100.0)
    with pytest.raises(Disproved):
        prove(floor, payloads=st.fixed_dictionaries({"amount": st.integers(-9, 9)}), seconds=100.0)
    prove(listing, payloads=st.builds(Entry, st.just(""), st.just(""), st.just(0), st.integers(1, 3)), seconds=100.0)


def test_disordered_is_the_same_for_the_same_seed() -> None:
    events = list(range(50))
    assert disordered(events, seed=1) == disordered(events, seed=1) != disordered(events, seed=2)
    found = Counter(disordered(events, seed=1, duplicates=0.5))
    assert found.keys() == set(events)
    assert set(found.values()) == {1, 2}
    assert disordered(events, duplicates=0, reach=0) == events
    near = disordered(events, seed=1, duplicates=0, reach=3)
    assert near != events
    assert all(abs(near.index(event) - event) <= 3 for event in events)


@given(disorders([1, 2, 3], max_duplicates=2))
@settings(max_examples=30)
def test_disorders_are_all_events_and_some_twice(events: list[int]) -> None:
    assert set(events) == {1, 2, 3}
    assert 3 <= len(events) <= 5
