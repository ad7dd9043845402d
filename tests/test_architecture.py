"""Imports point one way: core ← ports ← everything else, and only the wiring names adapters."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parent.parent / "src"
MODULES = sorted(SRC.rglob("*.py"))
CONCEPTS = {"inorder.core", "inorder.ports", "inorder.errors"}
ADAPTERS = {"inorder.sources", "inorder.stores", "inorder.producing", "inorder.doctor"}
TECHNOLOGIES = {"embedded", "file", "kafka", "sqs", "sqlite", "postgres"}
FACES = {
    "inorder.doctor.examining",
    "inorder.producing.outbox",
    "inorder.producing.producer",
    "inorder.producing.relay",
}
"""What users call, whatever the broker or database: it opens adapters through the wiring."""
IMPURE = {"asyncio", "datetime", "logging", "os", "pathlib", "random", "sqlite3", "socket", "threading", "time", "uuid"}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def within(module: str, rooms: set[str]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def technology_of(module: str) -> str | None:
    """The broker or database that a module is about; None for what its room shares."""
    for part in module.split(".")[2:3]:
        name = part.split("_")[0]
        return name if name in TECHNOLOGIES else None
    return None


@pytest.mark.parametrize("path", [p for p in MODULES if within(name_of(p), {"inorder.core"})], ids=name_of)
def test_core_imports_only_core_and_nothing_impure(path: Path) -> None:
    imported = imports_of(path)
    assert [m for m in sorted(imported) if m.startswith("inorder") and not within(m, {"inorder.core"})] == []
    assert imported & IMPURE == set()


@pytest.mark.parametrize("path", [SRC / "inorder/ports.py", SRC / "inorder/errors.py"], ids=name_of)
def test_ports_and_errors_import_only_core(path: Path) -> None:
    outside = [m for m in imports_of(path) if m.startswith("inorder") and not within(m, CONCEPTS)]
    assert outside == []


@pytest.mark.parametrize("path", [p for p in MODULES if within(name_of(p), ADAPTERS)], ids=name_of)
def test_adapters_import_concepts_and_never_each_other(path: Path) -> None:
    own = name_of(path)
    allowed = CONCEPTS | ADAPTERS | ({"inorder.wiring"} if own in FACES else set())
    for module in imports_of(path):
        if module.startswith("inorder"):
            assert within(module, allowed), f"{own} imports {module}"
            assert technology_of(module) in {None, technology_of(own)}, f"{own} imports {module}, another adapter"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_wiring_and_adapters_themselves_name_brokers_and_databases(path: Path) -> None:
    if within(name_of(path), ADAPTERS) or technology_of(name_of(path)) is not None:
        return
    libraries = {"confluent_kafka", "boto3", "botocore", "psycopg", "psycopg_pool"}
    assert {module.split(".")[0] for module in imports_of(path)} & libraries == set()


def test_importing_inorder_loads_no_broker_database_or_command_line_library() -> None:
    program = "import inorder, sys; print(*sys.modules)"
    loaded = set(subprocess.check_output([sys.executable, "-c", program], text=True).split())
    assert loaded & {"confluent_kafka", "boto3", "psycopg", "sqlite3", "asyncio", "cyclopts", "rich"} == set()
