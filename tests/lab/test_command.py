"""`inorder lab` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inorder.cli import main
from inorder.lab import experiments
from inorder.lab.experiments import EXPERIMENTS
from inorder.lab.results import Request, Result, Verdict
from tests.lab.test_report import RESULT

HELD = Result(
    **{name: getattr(RESULT, name) for name in RESULT.__struct_fields__ if name != "verdicts"},
    verdicts=[Verdict(claim="good", holds=True, shown="1")],
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Request]]:
    """What was asked for. Experiments are not run."""
    found: list[tuple[str, Request]] = []

    def note(name: str, request: Request) -> Result:
        found.append((name, request))
        return HELD if request.seed != 13 else RESULT

    monkeypatch.setattr("inorder.cli.lab.run", note)
    return found


def test_alone_it_lists_the_experiments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(EXPERIMENTS)
    assert main(["lab", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == EXPERIMENTS


def test_options_reach_the_experiment(asked: list[tuple[str, Request]]) -> None:
    assert main(["lab", "duplicates", "--seed", "9", "--broker", "kafka", "--kafka", "h:1", "--sqs", "http://q"]) == 0
    assert asked == [("duplicates", Request(seed=9, broker="kafka", kafka="h:1", sqs="http://q"))]


def test_it_prints_tables_and_verdicts_and_writes_files(
    asked: list[tuple[str, Request]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lab", "concurrency", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "12,345" in said
    assert "holds  good (1)" in said
    assert (tmp_path / "out" / "report.md").is_file()


def test_json_is_one_document(asked: list[tuple[str, Request]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "concurrency", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdicts"] == [{"claim": "good", "holds": True, "shown": "1"}]


def test_a_claim_that_does_not_hold_exits_6(
    asked: list[tuple[str, Request]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lab", "concurrency", "--seed", "13"]) == 6
    assert "DOES NOT HOLD  bad (0)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["concurency"], "did you mean concurrency?"),
        (["zzz"], "write one of concurrency"),
        (["concurrency", "--broker", "kafka"], "add --kafka HOST:PORT"),
        (["concurrency", "--seed", "x"], "--seed"),
    ],
)
def test_a_mistake_gets_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert says in said.err
    assert len(said.err.strip().splitlines()) == 1


def test_every_experiment_has_its_file() -> None:
    folder = Path(experiments.__file__).parent
    assert sorted(EXPERIMENTS) == sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
