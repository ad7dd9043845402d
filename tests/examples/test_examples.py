"""The examples, run as their first lines say, against what their events come to in order."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inorder.cli import main
from inorder.declaration import declaration_of
from inorder.worker.loading import load_consumer

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def events_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (EXAMPLES / f"{name}.jsonl").read_text().splitlines()]


def in_order(found: list[dict[str, Any]], key: str) -> dict[str, list[dict[str, Any]]]:
    """Each entity's events, every one once, by version."""
    once = {event["id"]: event for event in found}
    entities: dict[str, list[dict[str, Any]]] = {}
    for event in sorted(once.values(), key=lambda event: (event[key], event["version"])):
        entities.setdefault(event[key], []).append(event)
    return entities


def balance_of(history: list[dict[str, Any]]) -> dict[str, int]:
    cents = refused = 0
    for event in history:
        if event["kind"] == "credit":
            cents += event["amount"]
        elif event["amount"] <= cents:
            cents -= event["amount"]
        else:
            refused += 1
    return {"cents": cents, "refused": refused}


def profile_of(history: list[dict[str, Any]]) -> dict[str, str]:
    return {"name": history[-1]["name"], "city": history[-1]["city"]}


Oracle = Callable[[list[dict[str, Any]]], dict[str, Any]]
CASES: dict[str, tuple[str, Oracle]] = {"balance": ("account", balance_of), "profile": ("user", profile_of)}


@pytest.fixture(params=CASES)
def name(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    found: str = request.param
    return found


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def states(capsys: pytest.CaptureFixture[str], name: str) -> list[dict[str, Any]]:
    said = command(capsys, "state", "--store", "sqlite:///inorder.db", "--stream", name)
    return [json.loads(line) for line in said.splitlines()]


def oracle(name: str) -> list[dict[str, Any]]:
    key, final = CASES[name]
    entities = in_order(events_of(name), key)
    return [{"key": one, "version": len(entities[one]), "state": final(entities[one])} for one in sorted(entities)]


def test_from_the_file(capsys: pytest.CaptureFixture[str], name: str) -> None:
    consumer = f"{EXAMPLES / name}.py:{name}"
    report = command(capsys, "run", consumer, "--from", EXAMPLES / f"{name}.jsonl", "--until-idle", 0.1, "--json")
    assert json.loads(report)["received"] == len(events_of(name))
    assert states(capsys, name) == oracle(name)


def test_through_the_embedded_broker(capsys: pytest.CaptureFixture[str], name: str, tmp_path: Path) -> None:
    topic = f"embedded://{tmp_path}/broker.db/{name}"
    consumer = f"{EXAMPLES / name}.py:{name}"
    command(capsys, "produce", EXAMPLES / f"{name}.jsonl", "--to", topic, "--key", CASES[name][0], "--partitions", 3)
    command(capsys, "run", consumer, "--from", topic, "--until-idle", 0.1)
    assert states(capsys, name) == oracle(name)
    again = json.loads(command(capsys, "run", consumer, "--from", topic, "--until-idle", 0.1, "--json"))
    assert again["received"] == 0


def test_the_events_would_break_a_naive_consumer(name: str) -> None:
    key, _ = CASES[name]
    function = load_consumer(f"{EXAMPLES / name}.py:{name}")
    import msgspec

    naive: dict[str, Any] = {}
    for event in events_of(name):
        payload = msgspec.convert(event, declaration_of(function).payload)
        naive[event[key]] = function(naive.get(event[key]), payload)
    wrong = [row["key"] for row in oracle(name) if msgspec.to_builtins(naive[row["key"]]) != row["state"]]
    assert len(wrong) >= 2


def test_they_are_short(name: str) -> None:
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < 40
