"""The write-up says what the committed results say, and those are of the experiments as they are."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import inorder
from inorder.lab import report
from inorder.lab.drawing import svg

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("evidence", DOCS / "evidence.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


evidence = _load()
RUNS = sorted(evidence.runs())


def test_the_page_is_what_the_results_say() -> None:
    text = evidence.PAGE.read_text()
    assert evidence.rendered(text).splitlines() == text.splitlines()


def test_a_page_that_says_something_else_is_noticed() -> None:
    text = evidence.PAGE.read_text()
    figure = "| nothing is missing | 0 |"
    assert evidence.rendered(text.replace(figure, "| nothing is missing | 7 |")) == text != text.replace(figure, "")


def test_every_run_is_shown() -> None:
    assert sorted(set(evidence.blocks(evidence.PAGE.read_text()))) == RUNS


@pytest.mark.parametrize("name", RUNS)
def test_a_committed_result_is_whole_and_bears_out_its_claims(name: str) -> None:
    folder = evidence.RESULTS / name
    found = report.read(folder)
    assert (found.experiment, found.broker) == evidence.runs()[name]
    assert (found.version, found.seed) == (inorder.__version__, evidence.SEED)
    assert [verdict.claim for verdict in found.verdicts if not verdict.holds] == []
    assert {path.name for path in folder.iterdir()} == {
        "report.md",
        "report.json",
        *(f"{plot.name}.svg" for plot in found.plots),
    }
    for plot in found.plots:
        assert (folder / f"{plot.name}.svg").read_text() == svg(plot)
    assert (folder / "report.md").read_text() == f"# {found.experiment}\n\n{report.markdown(found)}"


def test_a_part_that_is_not_there_is_said() -> None:
    with pytest.raises(ValueError, match="guards has no table-9: it has setting, table-1"):
        report.markdown(report.read(evidence.RESULTS / "guards"), parts=["table-9"])


def test_the_command_checks_without_running_anything(capsys: pytest.CaptureFixture[str]) -> None:
    assert evidence.main(["--check"]) == 0
    assert evidence.main(["nothing"]) == 2
    assert "there is no run nothing" in capsys.readouterr().out
