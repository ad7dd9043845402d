"""What flaws are planted in, and which tests may notice: those that need no broker, quick ones first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_TESTS = Path(__file__).resolve().parent.parent
SRC = _TESTS.parent / "src"


@dataclass(frozen=True)
class Room:
    """Files of one kind, and their tests."""

    files: tuple[str, ...]
    tests: tuple[str, ...]
    service: bool = False
    """The tests need PostgreSQL."""
    waits: bool = False
    """The tests wait for threads, so one that fails is tried again, and without the flaw."""

    def paths(self) -> list[Path]:
        """Its files, in a fixed order."""
        return sorted(path for pattern in self.files for path in (SRC / "inorder").glob(pattern))


_PROOF = tuple(f"tests/proof/test_{name}.py" for name in ("memory_store", "claim", "simulation", "system"))
_LONG = {"controls", "crashing", "hanging", "scripted_source"}
"""Tests of the worker that take long for what they see of one flaw, or that see none."""
_WORKER = tuple(
    path.relative_to(_TESTS.parent).as_posix()
    for path in sorted((_TESTS / "worker").glob("test_*.py"))
    if path.stem.removeprefix("test_") not in _LONG
)

ROOMS = {
    "core": Room(
        ("core/*.py",),
        (
            "tests/core",
            "tests/model",
            "tests/sources/test_partitioner.py",
            "tests/docs/test_pages.py::test_what_is_written_from_the_code_is_what_the_code_says",
            *_PROOF,
        ),
    ),
    "worker": Room(("worker/*.py",), ("tests/core/test_timers.py", *_WORKER, *_PROOF), waits=True),
    "codecs": Room(("codecs/json.py",), ("tests/codecs",)),
    "sqlite": Room(
        ("stores/sqlite/*.sql", "stores/sqlite/migrations/*.sql", "stores/sqlite/many.py"),
        ("-m", "not postgres", "tests/stores"),
    ),
    "postgres": Room(
        ("stores/postgres/*.sql", "stores/postgres/migrations/*.sql"), ("-m", "postgres", "tests/stores"), service=True
    ),
}
