"""`inorder dlq` as a person or a program uses it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command

BANK = """
import msgspec

import inorder

KINDS = {"credit"}

class Entry(msgspec.Struct):
    id: str
    account: str
    version: int
    kind: str
    cents: int

@inorder.fold(key="account", version="version", id="id")
def balance(state: int | None, entry: Entry) -> int:
    if entry.kind not in KINDS:
        raise inorder.Poison(f"unknown kind {entry.kind!r}")
    return (state or 0) + entry.cents
"""
YES = ("--yes", "--reason", "because")


def line(account: str, version: int, kind: str = "credit", cents: int = 10) -> dict[str, Any]:
    return {"id": f"{account}-{version}", "account": account, "version": version, "kind": kind, "cents": cents}


EVENTS = [
    *[line("alice", version) for version in range(1, 4)],
    *[line("bob", version, "refund" if version == 2 else "credit") for version in range(1, 6)],
    *[line("carol", version, "refund" if version == 1 else "credit") for version in range(1, 3)],
]
ODD_KEY = "\x1b[31mred\u202e"
ODD = '{"id": "x", "account": "\\u001b[31mred\\u202e", "version": "two", "kind": "credit", "cents": 1}'


@pytest.fixture
def failed(command: Command) -> Command:
    """A store with two parked keys and a letter that no event can be read from, but its key."""
    Path("bank.py").write_text(BANK)
    Path("events.jsonl").write_text("\n".join([*map(json.dumps, EVENTS), ODD]) + "\n")
    assert command("run", "bank.py:balance", "--from", "events.jsonl", "--until-idle", 0.05).code == 0
    return command


def mend() -> None:
    """Deploy code that knows refunds."""
    Path("bank.py").write_text(BANK.replace('{"credit"}', '{"credit", "refund"}'))
    for name in [name for name, module in sys.modules.items() if getattr(module, "KINDS", None)]:
        del sys.modules[name]


# looking


def test_list_groups_by_reason_and_by_key(failed: Command) -> None:
    found = failed("dlq", "list", "--json").document
    assert (found["letters"], found["parked_keys"], found["held"]) == (3, 2, 4)
    assert [(one["reason"], one["kind"], one["letters"], one["keys"]) for one in found["by_reason"]] == [
        ("failed", "Poison", 2, 2),
        ("malformed", "version", 1, 1),
    ]
    by_key = {one["key"]: (one["letters"], one["version"], one["parked"], one["behind"]) for one in found["by_key"]}
    assert by_key == {"bob": (1, 2, True, 3), "carol": (1, 1, True, 1), ODD_KEY: (1, None, False, 0)}
    assert found["oldest_age_s"] >= 0
    said = failed("dlq", "list")
    assert said.code == 0
    assert "3 open letters, 2 parked keys, 4 events waiting" in said.out
    assert "unknown kind 'refund'" in said.out


def test_list_is_narrowed_by_key_reason_and_time(failed: Command) -> None:
    assert failed("dlq", "list", "--key", "bob", "--json").document["letters"] == 1
    assert failed("dlq", "list", "--reason", "malformed", "--json").document["letters"] == 1
    assert failed("dlq", "list", "--since", "1h", "--json").document["letters"] == 3
    assert failed("dlq", "list", "--since", "2999-01-01", "--json").document["letters"] == 0
    assert failed("dlq", "list", "--since", "yesterday").code == 2


def test_list_names_keys_that_wait_without_a_letter(command: Command) -> None:
    Path("bank.py").write_text(BANK.replace('id="id"', 'id="id", limits=inorder.Limits(gap_s=600)'))
    Path("events.jsonl").write_text("\n".join(json.dumps(line("dan", version)) for version in (1, 3, 4)))
    command("run", "bank.py:balance", "--from", "events.jsonl", "--until-idle", 0.05)
    found = command("dlq", "list", "--json").document
    assert (found["letters"], found["parked_keys"], found["waiting_keys"]["gap"]) == (0, 0, 1)
    [row] = found["by_key"]
    assert (row["key"], row["letters"], row["version"], row["behind"], row["waits"]) == ("dan", 0, 2, 2, "gap")
    assert 0 < row["due_in_s"] <= 600
    said = command("dlq", "list").out
    assert "other keys that wait: 1 for a version that has not come" in said
    assert "version 2 has not come; parks in 9 m without it" in said
    assert command("dlq", "list", "--key", "eve", "--json").document["by_key"] == []


def test_an_empty_list_is_a_document_too(command: Command) -> None:
    Path("bank.py").write_text(BANK)
    Path("events.jsonl").write_text(json.dumps(EVENTS[0]))
    command("run", "bank.py:balance", "--from", "events.jsonl", "--until-idle", 0.05)
    found = command("dlq", "list", "--json").document
    assert (found["letters"], found["by_reason"], found["by_key"], found["oldest_at"]) == (0, [], [], None)
    assert json.loads(command("dlq", "audit", "--json").out) == []


def test_show_hides_payloads_until_asked(failed: Command) -> None:
    number = number_of(failed, "bob")
    said = failed("dlq", "show", number)
    assert said.code == 0
    assert "refund" not in said.out.split("payload")[1].splitlines()[0]
    assert "bank.py" in said.out, "the traceback is there"
    assert "cents" not in json.dumps(failed("dlq", "show", number, "--json").document)
    shown = failed("dlq", "show", number, "--payload", "--json").document
    assert json.loads(shown["payload"]["text"]) == line("bob", 2, "refund")
    assert shown["position"] == {"topic": "events.jsonl", "partition": 0, "offset": 5}
    assert shown["code_version"].startswith("bank.py ")


def test_show_of_a_key_says_what_waits_and_why(failed: Command) -> None:
    found = failed("dlq", "show", "bob", "--json").document
    assert (found["version"], found["behind"]["events"], found["waits"]["why"]) == (1, 3, "parked")
    assert found["letters"][0]["letter"] == number_of(failed, "bob")
    assert "state" not in found
    assert failed("dlq", "show", "bob", "--payload", "--json").document["state"] == {"text": "10"}
    assert "behind   3 events wait, versions 3 to 5\n" in failed("dlq", "show", "bob").out
    assert "behind   1 event waits, version 2\n" in failed("dlq", "show", "carol").out


def test_show_of_a_key_with_a_gap_has_no_reason_to_give(failed: Command) -> None:
    Path("early.jsonl").write_text(json.dumps(line("dave", 2)) + "\n")
    assert failed("run", "bank.py:balance", "--from", "early.jsonl", "--until-idle", 0.05).code == 0
    [waits] = [one for one in failed("dlq", "show", "dave").out.splitlines() if one.startswith("waits")]
    assert waits.startswith("waits    gap at version 1 since ")
    assert waits.endswith("Z")
    assert failed("dlq", "show", "nobody").code == 3
    assert failed("dlq", "show", 99).code == 3
    assert failed("dlq", "show").code == 2


def test_control_characters_are_made_harmless(failed: Command) -> None:
    number = number_of(failed, ODD_KEY)
    for said in (failed("dlq", "show", number, "--payload"), failed("dlq", "list"), failed("dlq", "audit")):
        assert "\x1b" not in said.out
        assert "\u202e" not in said.out


def number_of(call: Command, key: str | None) -> int:
    """The open letter of a key."""
    found = call("dlq", "list", "--json").document["by_key"]
    return int(next(one["first_letter"] for one in found if one["key"] == key))


# planning and replaying


def test_a_failure_is_found_understood_rehearsed_and_replayed(failed: Command) -> None:
    said = failed("dlq", "plan", "bank.py:balance")
    assert "PLAN ONLY, nothing changed. A replay would mend nothing as things are" in said.out
    mend()
    assert 'To run it: inorder dlq replay 2 --reason "why"' in failed("dlq", "plan", "bank.py:balance").out
    made = failed("dlq", "plan", "bank.py:balance", "--json").document
    assert made["forecast"] == {"applied": 2, "unreadable": 1}
    assert (made["letters"], made["keys"], made["behind"], made["behind_failing"]) == (3, 3, 4, 0)
    ran = failed("dlq", "replay", made["plan"], *YES, "--json")
    assert ran.code == 5, "one letter cannot be read"
    sums = ran.document["sums"]
    assert (sums["selected"], sums["applied"], sums["failed"]) == (3, 2, 1)
    assert ran.document["drained"]["applied"] == 4
    state = {one["key"]: one["state"] for one in failed("state", "--store", "sqlite:///inorder.db").lines}
    assert state == {"alice": 30, "bob": 50, "carol": 20}
    assert failed("dlq", "replay", made["plan"], *YES).code == 5, "once more what failed, and nothing else"
    audit = json.loads(failed("dlq", "audit", "--json").out)
    assert [(one["action"], one["outcome"]) for one in audit].count(("replay", "applied")) == 2
    assert {one["reason"] for one in audit if one["action"] == "replay"} == {"because"}
    told = failed("dlq", "audit", "--key", "bob")
    assert "replay applied" in told.out
    assert "because" in told.out


def test_only_some_letters(failed: Command) -> None:
    mend()
    made = failed("dlq", "plan", "bank.py:balance", "--key", "bob", "--json").document
    assert [(one["key"], one["version"]) for one in made["order"]] == [("bob", 2)]
    ran = failed("dlq", "replay", made["plan"], *YES)
    assert ran.code == 0
    assert "1 selected = 1 applied + 0 duplicate + 0 skipped + 0 failed" in ran.out
    assert failed("dlq", "plan", "bank.py:balance", "--key", "bob").code == 3
    empty = failed("dlq", "plan", "bank.py:balance", "--id", 99, "--json")
    assert (empty.code, empty.document["plan"]) == (3, None)


def test_a_dry_run_of_a_plan_changes_nothing(failed: Command) -> None:
    made = failed("dlq", "plan", "bank.py:balance", "--json").document
    mend()
    said = failed("dlq", "replay", made["plan"], "--dry-run", "--json")
    assert said.code == 0
    assert sorted(one["result"] for one in said.document["letters"]) == ["applied", "applied", "unreadable"]
    assert failed("dlq", "list", "--json").document["letters"] == 3


def test_code_that_has_changed_since_the_plan_is_told_of(failed: Command) -> None:
    made = failed("dlq", "plan", "bank.py:balance", "--json").document
    mend()
    assert "the code is not what the plan was rehearsed with" in failed("dlq", "replay", made["plan"], *YES).err


def test_a_mistake_is_pointed_to_the_help_of_its_verb(command: Command) -> None:
    said = command("dlq", "plan")
    assert said.code == 2
    assert "(see: inorder dlq plan --help)" in said.err
    assert "(see: inorder dlq --help)" in command("dlq", "mend").err


def test_a_plan_that_is_not_there(failed: Command) -> None:
    assert failed("dlq", "replay", 99, *YES).code == 3


# asking


@pytest.mark.parametrize(
    "verb", [("replay", 1), ("skip", 1), ("edit", 1, "--payload", "bank.py"), ("export", "--to", "embedded:///x.db/t")]
)
def test_without_a_terminal_and_without_yes_nothing_is_changed(
    failed: Command, verb: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    before = failed("dlq", "list", "--json").document["letters"]
    for given in ((), ("--yes",), ("--reason", "because")):
        said = failed("dlq", *verb, *given)
        assert said.code == 2
        assert "no terminal" in said.err
    assert failed("dlq", "list", "--json").document["letters"] == before


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "code", "left"), [("y", 0, 2), ("n", 1, 3), ("", 1, 3)])
def test_on_a_terminal_it_asks_why_and_whether(
    failed: Command, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, left: int
) -> None:
    mend()
    made = failed("dlq", "plan", "bank.py:balance", "--key", "bob", "--json").document
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdin", Terminal(f"refunds are known now\n{answer}\n"))
        patched.setattr(sys.stderr, "isatty", lambda: True)
        assert failed("dlq", "replay", made["plan"]).code == code
    assert failed("dlq", "list", "--json").document["letters"] == left
    if code == 0:
        assert json.loads(failed("dlq", "audit", "--json").out)[-1]["reason"] == "refunds are known now"


def test_an_empty_reason_is_no_reason(failed: Command) -> None:
    assert failed("dlq", "skip", number_of(failed, "bob"), "--yes", "--reason", "  ").code == 2


# changing


def test_skip_and_what_the_report_says_for_ever(failed: Command) -> None:
    said = failed("dlq", "skip", number_of(failed, "bob"), *YES)
    assert said.code == 0
    assert "version 2 will never be applied; 3 events behind it go on" in said.out
    failed("run", "bank.py:balance", "--from", "events.jsonl", "--until-idle", 0.05)
    found = failed("dlq", "show", "bob", "--json").document
    assert (found["version"], found["skipped_versions"]) == (5, [[2, 2]])
    assert "never applied: 2" in failed("dlq", "show", "bob").out
    assert failed("dlq", "list", "--status", "skipped", "--json").document["letters"] == 1
    assert failed("dlq", "skip", "bob", "--version", 3, *YES).code == 2
    assert failed("dlq", "skip", "bob", *YES).code == 2


def test_edit_and_replay(failed: Command) -> None:
    number = number_of(failed, "bob")
    Path("new.json").write_text(json.dumps(line("bob", 2, "credit", 7)))
    assert failed("dlq", "edit", number, "--payload", "gone.json", *YES).code == 2
    said = failed("dlq", "edit", number, "--payload", "new.json", "--consumer", "bank.py:balance", *YES)
    assert said.code == 0
    assert "key bob, version 2" in said.out
    made = failed("dlq", "plan", "bank.py:balance", "--key", "bob", "--json").document
    assert failed("dlq", "replay", made["plan"], *YES).code == 0
    assert failed("state", "--store", "sqlite:///inorder.db", "bob").lines[0]["state"] == 47
    shown = failed("dlq", "show", number, "--payload", "--json").document
    assert json.loads(shown["payload"]["text"])["kind"] == "refund", "the old payload is kept"
    assert json.loads(shown["edits"][0]["payload"]["text"])["cents"] == 7
    assert shown["edits"][0]["reason"] == "because"


def test_misuse_is_one_line(failed: Command) -> None:
    for arguments in (
        ("replay", "one", *YES),
        ("replay", 1, "--rate", "fast", *YES),
        ("plan", "bank.py:nobody"),
        ("list", "--store", "sqlite:///gone.db"),
        ("unheard-of",),
    ):
        said = failed("dlq", *arguments)
        assert said.code in {2, 3}
        assert len(said.err.strip().splitlines()) == 1, said.err
        assert said.out == ""


@pytest.mark.parametrize(
    "words",
    [
        ("show", "\udcff"),
        ("show", "--key", "\udcff"),
        ("list", "--key", "\udcff"),
        ("audit", "--key", "\udcff"),
        ("plan", "bank.py:balance", "--key", "bob", "--key", "\udcff"),
        ("skip", "\udcff", "--version", "3", *YES),
        ("list", "--limit", 10**20),
        ("audit", "--plan", 10**20),
        ("audit", "--id", 10**20),
        ("plan", "bank.py:balance", "--id", 1, "--id", 10**20),
        ("replay", 10**20, *YES),
        ("edit", 10**20, "--payload", "events.jsonl", *YES),
        ("skip", 10**20, *YES),
        ("skip", "bob", "--version", 10**20, *YES),
    ],
)
def test_a_key_or_a_number_that_no_store_can_have_is_a_mistake(failed: Command, words: tuple[object, ...]) -> None:
    said = failed("dlq", *words)
    assert said.code == 2, said
    assert said.err.startswith("inorder: ")
    assert said.err.count("\n") == 1
    assert "unexpected" not in said.err


def test_help_of_each_verb_says_what_it_does(command: Command) -> None:
    said = command("dlq", "--help")
    for verb in ("list", "show", "plan", "replay", "edit", "skip", "audit", "import", "export"):
        assert f"  {verb}: " in said.out
        assert len(command("dlq", verb, "--help").out.splitlines()) > 8


def test_ctrl_c_ends_a_replay_cleanly_and_it_goes_on_later(command: Command) -> None:
    keys = [f"k{number}" for number in range(200)]
    Path("bank.py").write_text(BANK)
    Path("events.jsonl").write_text("\n".join(json.dumps(line(key, 1, "refund")) for key in keys) + "\n")
    command("run", "bank.py:balance", "--from", "events.jsonl", "--until-idle", 0.05)
    mend()
    plan = command("dlq", "plan", "bank.py:balance", "--json").document["plan"]
    arguments = ["-m", "inorder.cli", "dlq", "replay", str(plan), "--rate", "50/s", "--json", *YES]
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": ""},
    )
    deadline = time.monotonic() + 20
    while command("dlq", "list", "--json").document["letters"] > 190:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    found = json.loads(out)
    assert found["stopped"] == "interrupted"
    assert 0 < found["sums"]["applied"] < 200
    again = command("dlq", "replay", plan, *YES, "--json")
    assert again.code == 0
    assert again.document["sums"]["applied"] == 200
    assert len(again.document["letters"]) == 200 - found["sums"]["applied"]


def test_a_plan_for_a_consumer_that_the_store_does_not_know_makes_no_stream_of_it(failed: Command) -> None:
    Path("other.py").write_text(BANK.replace("def balance", "def blance"))
    for words in (("plan", "other.py:blance"), ("replay", 1, "--consumer", "other.py:blance", "--dry-run")):
        if words[0] == "replay":
            assert failed("dlq", "plan", "bank.py:balance").code == 0
        said = failed("dlq", *words)
        assert said.code == 3, said
        assert "has no stream 'blance': it has balance" in said.err
    assert failed("dlq", "list").code == 0, "there is one stream still, and it need not be named"
