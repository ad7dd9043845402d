"""A user's mistake gets one line on standard error and its exit code. Never a traceback."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import CONSUMERS, Command, write_lines

RUN = ("run", f"{CONSUMERS}:ledger", "--from", "events.jsonl")

MISTAKES = [
    (("nope",), 2, "there is no verb 'nope'"),
    (("stat", "--store", "x"), 2, "did you mean state?"),
    (("--json", "status"), 2, "--json stands before the verb: write inorder status, and its options after it"),
    (("--store", "sqlite:///x.db", "state"), 2, "--store stands before the verb: write inorder state"),
    (("run",), 2, "CONSUMER"),
    (("run", "x.py:f"), 2, "--from"),
    (("run", "x.py:f", "--from", "--json"), 2, "--from has no value"),
    ((*RUN, "--worker", "2"), 2, "Did you mean --workers?"),
    ((*RUN, "--workers", "0"), 2, "Must be >= 1"),
    ((*RUN, "--workers", "two"), 2, 'unable to convert "two" into int'),
    ((*RUN, "--until-idle", "-1"), 2, "Must be >= 0"),
    ((*RUN, "--log-level", "loud"), 2, '"debug", "info", "warning", "error"'),
    ((*RUN, "extra"), 2, "extra"),
    (("run", "missing.py:f", "--from", "-"), 2, "there is no file missing.py"),
    (("run", "no.such.module:f", "--from", "-"), 2, "there is no module 'no' here or installed"),
    (("run", f"{CONSUMERS}:nothing", "--from", "-"), 2, "has no 'nothing': write "),
    (("run", f"{CONSUMERS}", "--from", "-"), 2, f"write {CONSUMERS}:ledger or "),
    (("run", f"{CONSUMERS}:plain", "--from", "-"), 2, "is not a consumer: write "),
    (("run", "json:dumps", "--from", "-"), 2, "decorate a function with @inorder.fold or @inorder.handler"),
    (("run", f"{CONSUMERS}:ledger", "--from", "no.jsonl"), 2, "cannot read no.jsonl: No such file or directory"),
    (
        ("run", f"{CONSUMERS}:ledger", "--from", "redis://h/t"),
        2,
        "is no source: write embedded://…, kafka://…, sqs://… or a f",
    ),
    ((*RUN, "--store", "inorder.db"), 2, "is no store: write sqlite://…"),
    ((*RUN, "--store", "sqlite:///no/such/folder.db"), 1, "store no/such/folder.db: the file cannot be opened"),
    (("run", f"{CONSUMERS}:ledger", "--from", "embedded://no.db/T"), 1, "no embedded broker at no.db: create it with"),
    (("run", f"{CONSUMERS}:ledger", "--from", "embedded://no"), 2, "write embedded://path.db/TOPIC"),
    (("state",), 3, "inorder.db: there is no such file"),
    (("state", "--store", "mysql://h/d"), 2, "is no store"),
]


@pytest.mark.parametrize(("arguments", "code", "word"), MISTAKES, ids=[" ".join(m[0])[-40:] for m in MISTAKES])
def test_one_line_and_an_exit_code(
    inorder: Command, tmp_path: Path, arguments: tuple[str, ...], code: int, word: str
) -> None:
    write_lines(tmp_path / "events.jsonl", [])
    said = inorder(*arguments)
    assert (said.code, said.out) == (code, "")
    [line] = [line for line in said.err.splitlines() if line != "a module may print when it is imported"]
    assert line.startswith("inorder: ")
    assert word in line


BROKEN = {
    "def f(:": "invalid syntax ({file}, line 1)",
    "import no_such_thing": "cannot be imported: ModuleNotFoundError: No module named 'no_such_thing' ({file}, line 1)",
    "x = 1\n1 / 0": "cannot be imported: ZeroDivisionError: division by zero ({file}, line 2)",
    "raise SystemExit(3)": "cannot be imported: SystemExit: 3 ({file}, line 1)",
    "import inorder as i\n@i.fold(key='k', version='v')\ndef f(s, e): ...": "f: the argument 'e' has no type",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_module_that_cannot_be_imported_says_where(inorder: Command, tmp_path: Path, text: str) -> None:
    file = tmp_path / "broken_consumer.py"
    file.write_text(text)
    said = inorder("run", f"{file}:f", "--from", "-")
    assert (said.code, said.out) == (2, "")
    [line] = said.err.splitlines()
    assert line.startswith("inorder: broken_consumer.py")
    assert BROKEN[text].format(file=file) in line


def test_a_declaration_that_changed_is_refused(inorder: Command, tmp_path: Path) -> None:
    write_lines(tmp_path / "events.jsonl", [])
    inorder(*RUN, "--until-idle", 0.1)
    file = tmp_path / "changed_consumer.py"
    file.write_text(CONSUMERS.read_text().replace("retry=QUICK", "order='latest'"))
    said = inorder("run", f"{file}:ledger", "--from", "events.jsonl")
    assert said.code == 2
    assert "was written with order=strict" in said.err


def test_a_store_of_a_newer_schema_is_refused(inorder: Command, tmp_path: Path) -> None:
    write_lines(tmp_path / "events.jsonl", [])
    inorder(*RUN, "--until-idle", 0.1)
    with sqlite3.connect(tmp_path / "inorder.db") as store:
        store.execute("INSERT INTO inorder_schema (version) VALUES (999)")
    store.close()
    for arguments in (RUN, ("state", "--store", "sqlite:///inorder.db")):
        said = inorder(*arguments)
        assert (said.code, said.out) == (2, "")
        assert "its schema is version 999" in said.err.splitlines()[-1]


def test_the_unexpected_is_one_line_and_tells_how_to_see_more(
    inorder: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LookupError("nobody expected\nthis")

    monkeypatch.setattr("inorder.cli.streams.open_store", fail)
    said = inorder("state", "--store", "sqlite:///inorder.db")
    assert said.code == 1
    [line] = said.err.splitlines()
    assert line.startswith("inorder: unexpected LookupError: nobody expected this (")
    assert line.endswith("add --debug for the traceback")
    more = inorder("--debug", "state", "--store", "sqlite:///inorder.db")
    assert more.code == 1
    assert "Traceback (most recent call last)" in more.err
    assert "--debug" not in more.err.splitlines()[-1]
