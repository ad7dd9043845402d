"""What docs/producing.md shows runs as it stands."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from inorder.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "producing.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=["producer", "outbox"])
def test_the_code_of_the_page_runs(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "block.py").write_text(block)
    found = runpy.run_path("block.py")
    if "outbox" in found:
        assert found["version"] == 1
        found["connection"].close()
        command = ["relay", "--store", "sqlite:///bank.db", "--to", "embedded://broker.db/entries"]
        assert main([*command, "--until-idle", "0.1"]) == 0
        assert capsys.readouterr().out.startswith("1 published")
    else:
        assert capsys.readouterr().out.startswith("Place(partition=")
