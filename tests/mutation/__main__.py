"""`python -m tests.mutation [FILE…]`: plants every flaw in these files (by default in all of core/), and reports.

A flaw that no test notices is a survivor. Each survivor is explained in `survivors.txt`, or it is a hole in the tests:
then this command fails. What was tried is remembered in `.mutation/` until that is removed; `--again` tries survivors
once more, and `--seconds N` stops in time.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from random import Random

from tests.mutation.operators import Flaw, flaws
from tests.mutation.running import survives

ROOT = Path(__file__).resolve().parent.parent.parent
MOST_S = 300
"""A run of tests that takes longer hangs: the flaw is caught."""
RESULTS = ROOT / ".mutation"
OWN = {"replaying", "guard", "ranges", "frontier", "engine", "lanes", "limits", "retry", "words"}
"""Modules with tests of their own in tests/core, which come first."""
TOGETHER = [
    [
        "tests/core/test_waiting_again.py",
        "tests/model/test_model.py::test_the_core_comes_to_the_same_states_step_by_step",
    ],
    ["tests/proof/test_simulation.py", "-k", "no_seed_shows_an_anomaly"],
    ["tests/core/test_planner.py"],
]
"""What looks at all of them at once, the quick tests first."""
ELSEWHERE = {
    "partitioner": ["tests/sources/test_partitioner.py"],
    "replaying": ["tests/deadletters/test_replay.py", "tests/deadletters/test_orders.py"],
    "planner": ["tests/worker/test_failures.py", "tests/worker/test_gaps.py", "tests/worker/test_order.py"],
    "changes": ["tests/worker/test_order.py", "tests/worker/test_gaps.py", "tests/stores/test_store_conformance.py"],
}
"""Tests of other rooms that are about a module of core."""


def main(arguments: list[str]) -> int:
    """Plant, run, tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--again", action="store_true", help="what survived the last time, with slower tests too")
    parser.add_argument("--page", type=Path, help="run nothing; put what was found into this page")
    given = parser.parse_args(arguments)
    if given.page is not None:
        return _write(given.page)
    files = given.files or sorted((ROOT / "src/inorder/core").glob("*.py"))
    until = time.monotonic() + given.seconds
    unexplained = 0
    for file in files:
        unexplained += _one(file.resolve(), until, given.again)
    return 1 if unexplained else 0


def _one(path: Path, until: float, again: bool) -> int:
    module = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
    kept = RESULTS / f"{module}.json"
    known: dict[str, bool] = json.loads(kept.read_text()) if kept.exists() else {}
    candidates = flaws(path.read_text())
    # In no order, but always the same: so what was tried, if not all, is a fair sample.
    Random(0).shuffle(candidates)
    names = {flaw.name for flaw in candidates}
    known = {name: lives for name, lives in known.items() if name in names and not (again and lives)}
    if not _lives(module, path, Flaw("nothing", 0, path.read_text())):
        sys.exit(f"{module}: its tests fail without a flaw too")
    for flaw in candidates:
        if time.monotonic() > until:
            break
        if flaw.name not in known:
            known[flaw.name] = _lives(module, path, flaw, again)
            print("survives" if known[flaw.name] else "caught  ", f"{path.name}:{flaw.line}", flaw.name, flush=True)
            RESULTS.mkdir(exist_ok=True)
            kept.write_text(json.dumps(known, indent=1, ensure_ascii=False))
    explained = explanations()
    living = [name for name, lives in known.items() if lives]
    left = [name for name in living if (module, name) not in explained]
    print(f"{module}: {len(candidates)} flaws, {len(known)} tried, {len(living)} survive, {len(left)} unexplained")
    return len(left)


def _write(page: Path) -> int:
    """A table of modules, and the survivors with their explanations."""
    begin, end = "<!-- survivors -->", "<!-- end of survivors -->"
    explained = explanations()
    lines = ["| module | flaws | tried | caught | survivors |", "|---|---|---|---|---|"]
    survivors: list[str] = []
    unexplained = 0
    for file in sorted((ROOT / "src/inorder/core").glob("*.py")):
        planted = {flaw.name for flaw in flaws(file.read_text())}
        module = f"inorder.core.{file.stem}"
        kept = RESULTS / f"{module}.json"
        found: dict[str, bool] = json.loads(kept.read_text()) if kept.exists() else {}
        tried = {name: lives for name, lives in found.items() if name in planted}
        living = [name for name, lives in tried.items() if lives]
        if planted:
            cells = len(planted), len(tried), len(tried) - len(living), len(living)
            lines.append(f"| `{file.stem}` | {' | '.join(map(str, cells))} |")
        for name in living:
            why = explained.get((module, name), "not explained")
            unexplained += (module, name) not in explained
            survivors.append(f"- `{file.stem}`, {name.replace('  →  ', ' → ')}: {why}")
    before, rest = page.read_text().split(begin)
    text = "\n".join([*lines, "", *survivors])
    page.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}")
    return 1 if unexplained else 0


def _lives(module: str, path: Path, flaw: Flaw, again: bool = False) -> bool:
    last = module.rpartition(".")[2]
    own = [f"tests/core/test_{last}.py"] if last in OWN else []
    elsewhere = ELSEWHERE.get(last, []) if again or last == "partitioner" else []
    for tests in (own, *TOGETHER, elsewhere):
        if tests and not survives(module, str(path), flaw.text, [_argument(test) for test in tests], MOST_S):
            return False
    return True


def _argument(test: str) -> str:
    return str(ROOT / test) if test.startswith("tests/") else test


def explanations() -> dict[tuple[str, str], str]:
    """From module and flaw to why no test can, or need, see it."""
    found: dict[tuple[str, str], str] = {}
    module = why = ""
    text = (Path(__file__).parent / "survivors.txt").read_text() if SURVIVORS.exists() else ""
    for line in text.splitlines():
        if line.startswith("# "):
            module = line[2:].strip()
        elif line.startswith("    "):
            found[module, line.strip()] = why
        elif line.strip():
            why = line.strip()
    return found


SURVIVORS = Path(__file__).parent / "survivors.txt"

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
