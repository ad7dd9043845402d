"""`inorder run` in one process."""

from __future__ import annotations

import json
import re
import signal
import sys
from pathlib import Path

import pytest

from inorder.cli.streams import open_stream
from inorder.core.order import Order
from inorder.observe.stock import Stock
from inorder.wiring import open_store, public
from tests.cli.conftest import CONSUMERS, Command, Start, add_up, events, expected, write_lines

LEDGER = f"{CONSUMERS}:ledger"


def shuffled(tmp_path: Path) -> Path:
    """Five accounts of ten events, backwards, the first of all twice."""
    found = events(5, 10)[::-1]
    return write_lines(tmp_path / "events.jsonl", [*found, found[-1]])


def test_the_closing_document_has_what_was_promised(inorder: Command, tmp_path: Path) -> None:
    said = inorder("run", LEDGER, "--from", shuffled(tmp_path), "--until-idle", 0.1, "--json")
    assert said.code == 0
    report = said.document
    assert report["stream"] == "ledger"
    assert report["received"] == 51
    promised = {"applied", "duplicate", "stale", "held", "parked", "conflict", "late", "dead_lettered"}
    assert promised <= report["outcomes"].keys()
    assert {outcome: count for outcome, count in report["outcomes"].items() if count} == {"applied": 50, "duplicate": 1}
    assert (report["held_now"], report["parked_keys"]) == (0, 0)
    assert report["elapsed_s"] > 0
    assert report["events_per_s"] > 0


def test_the_store_is_inorder_db_in_the_working_directory_unless_given(inorder: Command, tmp_path: Path) -> None:
    file = shuffled(tmp_path)
    inorder("run", LEDGER, "--from", file, "--until-idle", 0.1)
    assert inorder("state", "--store", "sqlite:///inorder.db").lines == expected(5, 10)
    inorder("run", LEDGER, "--from", file, "--until-idle", 0.1, "--store", f"sqlite:///{tmp_path}/other.db")
    assert inorder("state", "--store", "sqlite:///other.db").lines == expected(5, 10)


def test_people_get_a_summary_without_escape_codes_or_trailing_blanks(inorder: Command, tmp_path: Path) -> None:
    said = inorder("run", LEDGER, "--from", shuffled(tmp_path), "--until-idle", 0.1)
    assert re.search(r"^received +51  stream ledger, ", said.out)
    assert re.search(r"^applied +50  took effect$", said.out, re.MULTILINE)
    assert re.search(r"^duplicate +1  had taken effect, or was waiting, already$", said.out, re.MULTILINE)
    assert "\x1b" not in said.out + said.err
    assert not re.search(r" $", said.out, re.MULTILINE)


def test_a_dotted_module_is_found_in_the_working_directory(inorder: Command, tmp_path: Path) -> None:
    (tmp_path / "some_consumer_package").mkdir()
    (tmp_path / "some_consumer_package" / "ledgers.py").write_bytes(CONSUMERS.read_bytes())
    said = inorder(
        "run", "some_consumer_package.ledgers:ledger", "--from", shuffled(tmp_path), "--until-idle", 0.1, "--json"
    )
    assert said.document["received"] == 51


def test_a_file_may_have_the_name_of_a_standard_module(inorder: Command, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_bytes(CONSUMERS.read_bytes())
    said = inorder("run", "json.py:ledger", "--from", shuffled(tmp_path), "--until-idle", 0.1, "--json")
    assert said.document["received"] == 51
    assert sys.modules["json"] is json


def test_each_event_has_a_line_at_debug_level(inorder: Command, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "events.jsonl", events(2, 2))
    said = inorder("run", LEDGER, "--from", file, "--until-idle", 0.1, "--log-level", "debug")
    lines = [line for line in said.err.splitlines() if "outcome=" in line]
    assert len(lines) == 4
    assert re.search(r"Z DEBUG +key=a00 version=1 outcome=applied lane=\S+ worker=1$", lines[0])
    quiet = inorder("run", LEDGER, "--from", file, "--until-idle", 0.1)
    assert "outcome=" not in quiet.err


def test_a_key_cannot_forge_a_log_line(inorder: Command, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "events.jsonl", [{"id": "1", "account": "a\nb\x1b[31m", "version": 1, "amount": 1}])
    said = inorder("run", LEDGER, "--from", file, "--until-idle", 0.1, "--log-level", "debug")
    assert "\x1b" not in said.err
    assert [line for line in said.err.splitlines() if line.startswith("b")] == []


def test_what_handlers_print_does_not_mix_with_the_result(inorder: Command, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "events.jsonl", events(1, 2))
    said = inorder("run", f"{CONSUMERS}:noisy", "--from", file, "--until-idle", 0.1, "--json")
    assert said.document["outcomes"]["applied"] == 2
    assert "handled 0-1" in said.err


def test_a_failing_event_parks_its_key_and_no_other(inorder: Command, tmp_path: Path) -> None:
    found = events(2, 4)
    found[2]["amount"] = 13  # the second event of account a00
    said = inorder("run", LEDGER, "--from", write_lines(tmp_path / "e", found), "--until-idle", 0.1, "--json")
    report = said.document
    add_up(report)
    assert said.code == 0
    assert report["outcomes"]["applied"] == 5
    assert report["outcomes"]["dead_lettered"] == 1
    assert report["outcomes"]["held"] + report["outcomes"]["parked"] == 2
    assert report["parked_keys"] == 1
    states = inorder("state", "--store", "sqlite:///inorder.db").lines
    assert [(row["key"], row["version"]) for row in states] == [("a00", 1), ("a01", 4)]


def test_a_gap_is_held_and_a_later_run_fills_it(inorder: Command, tmp_path: Path) -> None:
    first, *rest = events(1, 4)
    held = inorder("run", LEDGER, "--from", write_lines(tmp_path / "rest", rest), "--until-idle", 0.1, "--json")
    assert held.document["outcomes"]["held"] == 3
    assert held.document["held_now"] == 3
    filled = inorder("run", LEDGER, "--from", write_lines(tmp_path / "first", [first]), "--until-idle", 0.1, "--json")
    assert (filled.document["released"], filled.document["held_now"]) == (3, 0)
    assert inorder("state", "--store", "sqlite:///inorder.db").lines == expected(1, 4)


def test_that_a_file_does_not_end_the_run_is_said_with_what_does(
    inorder: Command, start: Start, tmp_path: Path
) -> None:
    file = write_lines(tmp_path / "events.jsonl", events(1, 1))
    waits = "when all of it is read, the run waits until Ctrl-C; with --until-idle 1 it ends by itself"
    run = start("run", LEDGER, "--from", file)
    run.until(lambda: waits in run.err)
    run.signal(signal.SIGINT)
    assert run.code() == 130
    assert waits not in inorder("run", LEDGER, "--from", file, "--until-idle", 0.1).err
    inorder("produce", file, "--to", f"embedded://{tmp_path}/b.db/T", "--key", "account")
    run = start("run", LEDGER, "--from", f"embedded://{tmp_path}/b.db/T")
    run.until(lambda: "stream ledger: from embedded" in run.err)
    run.signal(signal.SIGINT)
    assert run.code() == 130
    assert waits not in run.err


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("kafka://user:secret@h:1,h:2/T?sasl.password=secret", "kafka://h:1,h:2/T"),
        ("postgresql://user:sec@ret@h/d", "postgresql://h/d"),
        ("sqlite:////a/b@c.db", "sqlite:////a/b@c.db"),
        ("events@home.jsonl", "events@home.jsonl"),
        ("-", "-"),
    ],
)
def test_log_lines_keep_the_secrets_of_a_url(url: str, shown: str) -> None:
    assert public(url) == shown


def test_no_message_has_the_secrets_of_a_url(inorder: Command, postgres_url: str) -> None:
    store = f"{postgres_url}{'&' if '?' in postgres_url else '?'}password=s3cret"
    told = [inorder("status", "--store", store)]
    for name in ("one", "two"):
        made = open_store(store, name)
        made.register(Order.STRICT, 1)
        made.close()
    served = Stock(lambda: open_stream(store, "other"), None)
    served.look()
    told += [inorder("status", "--store", store, "--stream", "other"), inorder("state", "--store", store)]
    told += [inorder("dlq", "replay", 7, "--store", store, "--reason", "why", "--yes")]
    told += [inorder("dlq", "plan", LEDGER, "--store", store)]
    told += [inorder("run", LEDGER, "--from", "kafak://h/T?sasl.password=s3cret")]
    told += [inorder("run", LEDGER, "--from", "e.jsonl", "--store", "postgress://bob:s3cret@h/d")]
    assert [one.code for one in told] == [3, 3, 2, 3, 3, 2, 2]
    for text in (served.trouble or "", *(one.err for one in told)):
        assert "store" in text or "source" in text
        assert "s3cret" not in text
