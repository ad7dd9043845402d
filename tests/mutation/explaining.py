"""What was found so far, why survivors survive, and the page that tells of both."""

from __future__ import annotations

import json
from collections.abc import Set
from pathlib import Path

from tests.mutation.operators import Flaw, flaws
from tests.mutation.planted import PLANTED
from tests.mutation.rooms import ROOMS, SRC
from tests.mutation.sql_operators import sql_flaws
from tests.mutation.trying import KEPT

SURVIVORS = Path(__file__).parent / "survivors.txt"
BEGIN, END = "<!-- survivors -->", "<!-- end of survivors -->"


class Results:
    """Of one file: for each flaw tried, the test that caught it, or None."""

    def __init__(self, name: str) -> None:
        self._kept = KEPT / f"{name.replace('/', '.')}.json"
        self.found: dict[str, str | None] = json.loads(self._kept.read_text()) if self._kept.exists() else {}

    def keep(self, names: Set[str], living: bool = True) -> None:
        """Forget all others, and where told so those that survived."""
        self.found = {name: by for name, by in self.found.items() if name in names and (living or by is not None)}

    def add(self, name: str, by: str | None) -> None:
        """One more."""
        self.found[name] = by
        KEPT.mkdir(exist_ok=True)
        self._kept.write_text(json.dumps(self.found, indent=1, ensure_ascii=False))


def found_in(path: Path) -> list[Flaw]:
    """Every flaw that can be planted in a file."""
    text = path.read_text()
    return sql_flaws(text) if path.suffix == ".sql" else flaws(text)


def explanations() -> dict[tuple[str, str], str]:
    """From file and flaw to why no test can, or need, see it."""
    found: dict[tuple[str, str], str] = {}
    file = why = ""
    for line in SURVIVORS.read_text().splitlines():
        if line.startswith("# "):
            file = line[2:].strip()
        elif line.startswith("    "):
            found[file, line.strip()] = why
        elif line.strip():
            why = line.strip()
    return found


def _shown(test: str | None) -> str:
    return "nothing" if test is None else f"`{test.split('/')[-1].split('[')[0]}`"


def write(page: Path) -> int:
    """A table of files, and the survivors with their explanations."""
    explained = explanations()
    lines = ["| file | flaws | tried | caught | survivors |", "|---|---|---|---|---|"]
    survivors: list[str] = []
    unexplained = 0
    for room in ROOMS.values():
        for path in room.paths():
            name = path.relative_to(SRC / "inorder").as_posix()
            planted = {flaw.name for flaw in found_in(path)}
            results = Results(name)
            results.keep(planted)
            living = [flaw for flaw, by in results.found.items() if by is None]
            if planted:
                cells = len(planted), len(results.found), len(results.found) - len(living), len(living)
                lines.append(f"| `{name}` | {' | '.join(map(str, cells))} |")
            for flaw in living:
                unexplained += (name, flaw) not in explained
                why = explained.get((name, flaw), "not explained")
                survivors.append(f"- `{name}`, {flaw.replace('  →  ', ' → ')}: {why}")
    by_hand = Results("planted").found
    table = [f"| {one.name} | `{one.file}` | {_shown(by_hand.get(one.name))} |" for one in PLANTED]
    unexplained += sum(by_hand.get(one.name) is None for one in PLANTED)
    before, rest = page.read_text().split(BEGIN)
    head = [
        "Planted by hand (`--planted`), and a test that caught each:",
        "",
        "| flaw | file | caught by |",
        "|---|---|---|",
    ]
    text = "\n".join([*lines, "", *survivors, "", *head, *table])
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")
    return 1 if unexplained else 0
