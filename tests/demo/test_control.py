"""The negative control: without the guard, the demo's own comparison must find inorder wrong."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from inorder.cli import demo as verb
from inorder.lab.demo import Options, Result, run

pytestmark = pytest.mark.xdist_group("demo without a guard")
OPTIONS = Options(seed=1, events=600, entities=12, workers=2, order="unguarded")


class Deaf:
    def progress(self, *_: object) -> None: ...
    def tell(self, what: str) -> None: ...


@pytest.fixture(scope="module")
def unguarded(tmp_path_factory: pytest.TempPathFactory) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("control")))
        return run(OPTIONS, Deaf())


def test_most_states_are_wrong(unguarded: Result) -> None:
    assert len(unguarded.inorder_wrong) >= 6
    assert unguarded.inorder_effects > OPTIONS.events
    assert unguarded.outcomes["duplicate"] == 0
    assert sum(unguarded.outcomes.values()) == unguarded.delivered


@pytest.mark.parametrize("as_json", [True, False])
def test_it_exits_6_and_says_where_everything_is(
    unguarded: Result, as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verb, "run", lambda options, audience: unguarded)
    assert verb.show(OPTIONS, as_json) == 6
    said = capsys.readouterr()
    if as_json:
        assert json.loads(said.out)["inorder"]["wrong_entities"] == len(unguarded.inorder_wrong)
    else:
        assert f"inorder  {len(unguarded.inorder_wrong)} of 12 accounts" in said.out
    kept = Path(said.err.split("look for the cause in ")[1].split(",")[0])
    assert (kept / "inorder.db").is_file()
    assert list(kept.glob("inorder-*.log"))
