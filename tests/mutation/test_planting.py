"""The flaws that are planted are what they say they are. Whether tests notice them: `python -m tests.mutation`."""

from __future__ import annotations

import pytest

from tests.mutation.explaining import explanations, found_in
from tests.mutation.operators import flaws
from tests.mutation.planted import PLANTED, ByHand
from tests.mutation.rooms import ROOMS, SRC
from tests.mutation.sql_operators import sql_flaws

ROOT = SRC.parent


@pytest.mark.parametrize("one", PLANTED, ids=lambda one: one.name)
def test_what_a_flaw_replaces_is_still_there(one: ByHand) -> None:
    text, lines = one.planted()
    assert text != one.path.read_text()
    assert len(lines) < 50
    assert not one.seen_by or (ROOT / one.seen_by.split("::")[0]).exists()
    if one.path.suffix == ".py":
        compile(text, one.file, "exec")


def test_code_is_changed_in_one_place() -> None:
    found = [flaw.text for flaw in flaws("def one(a, b):\n    if a > b and not b:\n        a += 1\n    return a\n")]
    assert "def one(a, b):\n    if a >= b and (not b):\n        a += 1\n    return a" in found
    assert "def one(a, b):\n    if a > b:\n        a += 1\n    return a" in found
    assert "def one(a, b):\n    if a > b and (not b):\n        a -= 1\n    return a" in found
    assert "def one(a, b):\n    if a > b and (not b):\n        a += 1\n    return None" in found
    assert len(found) == len(set(found)) == 9


def test_sql_is_changed_in_one_place() -> None:
    text = "-- one: why\nUPDATE t SET a = 1, b = b + 1 WHERE c >= ? AND d = ? ORDER BY e;\n"
    found = [flaw.text.splitlines()[1] for flaw in sql_flaws(text)]
    assert "UPDATE t SET a = 1, b = b + 1 WHERE c > ? AND d = ? ORDER BY e;" in found
    assert "UPDATE t SET a = 1, b = b + 1 WHERE c >= ?  ORDER BY e;" in found
    assert "UPDATE t SET a = 1, b = b - 1 WHERE c >= ? AND d = ? ORDER BY e;" in found
    assert "UPDATE t SET a = 1 WHERE c >= ? AND d = ? ORDER BY e;" in found
    assert "UPDATE t SET a = 1, b = b + 1 WHERE c >= ? AND d = ? ;" in found


def test_what_is_explained_can_still_be_planted() -> None:
    files = {path.relative_to(SRC / "inorder").as_posix(): path for room in ROOMS.values() for path in room.paths()}
    names = {name: {flaw.name for flaw in found_in(path)} for name, path in files.items()}
    assert {(file, flaw) for file, flaw in explanations() if flaw not in names[file]} == set()
