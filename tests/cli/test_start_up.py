"""What the command loads before it does anything, and how it looks to a pipe and to a terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from inorder.cli import VERBS, main
from tests.cli.conftest import CONSUMERS, Command, events, write_lines


def loaded_by(*arguments: str) -> set[str]:
    program = (
        f"import sys; from inorder.cli import main; main({list(arguments)!r}); print(*sys.modules, file=sys.stderr)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(said.stderr.split())


def test_the_version_is_told_without_loading_what_runs_consumers_or_draws() -> None:
    assert loaded_by("--version") & {"cyclopts", "rich", "sqlite3", "asyncio", "inorder.worker.run"} == set()


def test_help_loads_no_verb() -> None:
    loaded = loaded_by("--help")
    assert {name for name in loaded if name.startswith("inorder.cli.")} <= {"inorder.cli.codes", "inorder.cli.failing"}
    assert loaded & {"sqlite3", "asyncio", "confluent_kafka", "boto3", "psycopg"} == set()


def test_the_script_is_installed_and_knows_its_version() -> None:
    script = Path(sys.executable).with_name("inorder")
    assert subprocess.check_output([script, "--version"], text=True) == f"inorder {version('inorder')}\n"


def test_help_names_every_verb_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for verb in VERBS:
        assert f" {verb}: " in text
    assert "0 ok, 1 failure, 2 usage, 3 not found, 5 partial, 6 findings, 130 interrupted" in text


@pytest.mark.parametrize("verb", ["run", "produce", "state"])
def test_the_help_of_a_verb_is_plain_when_piped(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    assert main([verb, "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"Usage: inorder {verb} ")
    assert not re.search("[\x1b╭│]", out)
    assert err == ""


def on_a_terminal(folder: Path, *arguments: str, **environment: str) -> str:
    """What the command writes to a terminal of 100 columns."""
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "inorder.cli", *arguments]
    plain = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    env = plain | {"COLUMNS": "100", "TERM": "xterm-256color"} | environment
    process = subprocess.Popen(command, cwd=folder, stdin=end, stdout=end, stderr=end, env=env)
    os.close(end)
    said = b""
    try:
        while data := os.read(terminal, 4096):
            said += data
    except OSError:
        pass  # the other end is closed, as Linux says it
    os.close(terminal)
    assert process.wait() == 0
    return said.decode()


@pytest.mark.parametrize("colour", [True, False])
def test_a_terminal_gets_colour_unless_it_does_not_want_any(inorder: Command, tmp_path: Path, colour: bool) -> None:
    found = events(2, 2)
    found[1]["amount"] = 13
    file = write_lines(tmp_path / "events.jsonl", found)
    environment = {} if colour else {"NO_COLOR": "1"}
    run = ("run", f"{CONSUMERS}:ledger", "--from", str(file), "--until-idle", "0.2")
    summary = on_a_terminal(tmp_path, *run, **environment)
    assert re.search(r"applied +2", summary)
    assert ("\x1b[1;31mdead_lettered" in summary) is colour
    state = on_a_terminal(tmp_path, "state", "--store", "sqlite:///inorder.db", **environment)
    assert re.search(r"a00 +2 +\{\"amounts\":\[101,102\]\}", state)


def test_a_reader_that_has_seen_enough_is_no_error(inorder: Command, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "events.jsonl", events(3000, 1))
    inorder("run", f"{CONSUMERS}:ledger", "--from", file, "--until-idle", 0.1)
    command = [sys.executable, "-m", "inorder.cli", "state", "--store", "sqlite:///inorder.db"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith(b'{"key":"a00"')
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0
