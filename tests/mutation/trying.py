"""Which tests see a flaw, in which order they are run, and what they say."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from tests.mutation.rooms import SRC
from tests.mutation.running import ROOT, House, Text, Timed, catches

KEPT = ROOT / ".mutation"


class Tests:
    """Some tests, each with the lines of the library that it comes by. One flaw is worth `most_s` seconds of them."""

    def __init__(self, arguments: Sequence[str], most_s: float, targets: Sequence[Path], waits: bool) -> None:
        self._waits = waits
        self._targets = {path.relative_to(ROOT).as_posix() for path in targets}
        self._house = House(arguments)
        self._most_s = most_s
        self._lines: dict[str, dict[str, set[int]]] = {}
        self._seconds: dict[str, float] = {}
        self._caught: Counter[str] = Counter()
        self._look()

    def __enter__(self) -> Tests:
        return self

    def __exit__(self, *_: object) -> None:
        self._house.close()

    def catch(self, before: Text, after: Text, lines: range) -> str | None:
        """The name of the first test that fails. None: the flaw survives."""
        name = after.path.relative_to(SRC).as_posix()
        if "migrations" in name:
            name, lines = f"inorder/stores/{after.path.relative_to(SRC).parts[2]}/transaction.py", range(100_000)
        seeing = [test for test, seen in self._lines.items() if not seen.get(name, set()).isdisjoint(lines)]
        swaps, named = self._house.can_swap(before, after), f"/test_{after.path.stem}.py"
        if not swaps:
            # What a module is made of when it is imported is seen by whoever uses it, and by tests that only look.
            own = [test for test in self._lines if named in test and test not in seeing]
            users = [test for test, seen in self._lines.items() if name in seen]
            # A module without a function is come by while it is imported alone: by any of them.
            # Each of them once: pytest cannot run one a second time, which would look as if the flaw had been caught.
            seeing = list(dict.fromkeys([*own, *(seeing or users or self._lines)]))
        seeing.sort(key=lambda test: self._seconds[test] / (1 + self._caught[test]))
        chosen: list[Timed] = []
        left_s = self._most_s
        for test in seeing:
            # Tests that are named after a module are worth their time.
            if self._seconds[test] <= left_s or named in test:
                chosen.append(Timed(test, self._seconds[test]))
                left_s -= self._seconds[test]
        by = self._certainly(before, after, chosen) if swaps else _imports(after, chosen)
        if by is not None:
            self._caught[by] += 1
        return by

    def _certainly(self, before: Text, after: Text, tests: list[Timed]) -> str | None:
        """The first test that fails with the flaw, fails with it again, and passes without it."""
        while tests:
            by = self._house.catches(before, after, tests)
            if by is None:
                return None
            at = next((n for n, test in enumerate(tests) if test.name == by), 0)
            alone = tests[at : at + 1]
            if not self._waits:
                return by
            if self._house.catches(before, before, alone) is None and self._house.catches(before, after, alone):
                return by
            tests = tests[at + 1 :]
        return None

    def _look(self) -> None:
        """Runs each test once, unless that was done, and neither it nor what flaws are planted in has changed since."""
        kept = KEPT / "tests.json"
        known = json.loads(kept.read_text()) if kept.exists() else {}
        hashes: dict[str, str] = {}
        begun = time.monotonic()
        for count, test in enumerate(sorted(self._house.tests)):
            entry = known.get(test)
            matter = self._targets | {test.split("::")[0]}
            if entry is None or any(
                _hash(file, hashes) != was for file, was in entry["files"].items() if file in matter
            ):
                seen = self._house.covered(test)
                print(f"looked at {test} {seen.seconds if seen else -1:.2f}")
                lines = seen.lines if seen else {}
                files = [str(Path("src") / name) for name in lines] + [test.split("::")[0]]
                entry = known[test] = {
                    "passes": seen is not None,
                    "seconds": seen.seconds if seen else 0.0,
                    "lines": {name: sorted(found) for name, found in lines.items()},
                    "files": {file: _hash(file, hashes) for file in files},
                }
                if count % 50 == 0:
                    _save(kept, known)
            if entry["passes"]:
                self._lines[test] = {name: set(found) for name, found in entry["lines"].items()}
                self._seconds[test] = entry["seconds"]
        _save(kept, known)
        print(f"{len(self._lines)} of {len(self._house.tests)} tests, {sum(self._seconds.values()):.0f} s, "
              f"looked at in {time.monotonic() - begun:.0f} s", flush=True)  # fmt: skip


def _imports(after: Text, chosen: Sequence[Timed]) -> str | None:
    """To collect all files for each flaw would take longest: first the tests that are named after the module."""
    own = [test for test in chosen if f"test_{after.path.stem}.py" in test.name]
    rest = [test for test in chosen if test not in own]
    for tests in (own, rest):
        if tests and (by := catches(after, tests)) is not None:
            return by
    return None


def _save(kept: Path, known: object) -> None:
    KEPT.mkdir(exist_ok=True)
    kept.write_text(json.dumps(known))


def _hash(file: str, hashes: dict[str, str]) -> str:
    if file not in hashes:
        path = ROOT / file
        hashes[file] = sha256(path.read_bytes()).hexdigest()[:12] if path.exists() else ""
    return hashes[file]
