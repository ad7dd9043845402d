"""`inorder prove` in a terminal and in a pipe."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from inorder.cli import main

ROOT = Path(__file__).resolve().parents[2]
DELTAS = "examples/broken/orders.py:deltas"
FLOOR = "examples/broken/orders.py:floor"
SUMMED = "examples/broken/tables.py:summed"


class Ran(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Ran]


@pytest.fixture
def inorder(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command, in this process: starting one anew takes longer than most proofs."""
    monkeypatch.chdir(ROOT)

    def run(*arguments: str) -> Ran:
        code = main(["prove", *arguments])
        return Ran(code, *capsys.readouterr())

    return run


def test_a_counterexample_is_printed_and_replayed(inorder: Command) -> None:
    ran = inorder(DELTAS)
    assert ran.returncode == 6, ran.stderr
    for words in (
        "oracle",
        "searched",
        "S20",
        "schedule",
        "where",
        "passes with",
        "replay",
        "NOT PROVED",
        "disproved:",
    ):
        assert words in ran.stdout
    assert ran.stderr == ""
    token = ran.stdout.split("--replay ")[1].split()[0]
    again = inorder(DELTAS, "--replay", token)
    assert (again.returncode, again.stderr) == (6, "")
    assert "applied a v2" in again.stdout
    assert inorder(FLOOR, "--replay", token).returncode == 0


def test_the_document_has_it_all(inorder: Command) -> None:
    ran = inorder(DELTAS, "--json")
    found = json.loads(ran.stdout)
    assert (ran.returncode, found["verdict"], found["anomaly"]["anomaly"]) == (6, "disproved", "S20")


@pytest.mark.usefixtures("few_scopes")
def test_a_good_consumer_ends_with_0_and_no_time_with_5(inorder: Command) -> None:
    good = inorder("examples/balance.py:balance", "--seconds", "100")
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.splitlines()[-1].startswith("proved:")
    assert inorder("examples/balance.py:balance", "--seconds", "0.001").returncode == 5


@pytest.mark.usefixtures("few_scopes")
def test_events_and_tables_of_ones_own(inorder: Command, tmp_path: Path) -> None:
    lines = [json.dumps({"id": f"{n}", "account": "x", "version": n, "amount": n}) for n in (2, 1, 3)]
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    ran = inorder(FLOOR, "--events", str(tmp_path / "events.jsonl"), "--seconds", "100")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (tmp_path / "tables.sql").write_text("CREATE TABLE balances (account TEXT PRIMARY KEY, cents INTEGER NOT NULL);")
    ran = inorder(SUMMED, "--tables", str(tmp_path / "tables.sql"), "--seconds", "100")
    assert ran.returncode == 6, ran.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((DELTAS, "--replay", "nonsense"), "replay token"),
        ((DELTAS, "--events", "no-such-file"), "no file"),
        ((DELTAS, "--seconds", "0"), "--seconds"),
        ((SUMMED, "--store", "postgresql://x/y"), "SQLite"),
        ((SUMMED, "--tables", "README.md"), "README.md"),
        ((DELTAS, "--tables", "README.md"), "fold"),
        ((SUMMED, "--store", "sqlite:///x.db", "--tables", "README.md"), "one of them"),
    ],
)
def test_a_mistake_gets_one_line(inorder: Command, arguments: tuple[str, ...], words: str) -> None:
    ran = inorder(*arguments)
    assert ran.returncode in {2, 3}
    assert ran.stdout == ""
    assert len(ran.stderr.splitlines()) == 1
    assert words in ran.stderr
