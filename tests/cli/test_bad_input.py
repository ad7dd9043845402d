"""Bad input on its way through `inorder run`: each a dead letter whose reason names the field; the rest goes on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from inorder.stores.rows import LetterRow
from inorder.wiring import open_store
from inorder.worker.loading import load_consumer
from inorder.worker.run import run
from tests.cli.conftest import Command, add_up, write_lines

BALANCE = Path(__file__).resolve().parents[2] / "examples" / "balance.py"
GOOD = {"id": "e", "account": "ada", "version": 1, "kind": "credit", "amount": 5}


def but(**changes: object) -> bytes:
    """A good event, but for these fields."""
    return json.dumps(GOOD | changes).encode()


def without(field: str) -> bytes:
    return json.dumps({name: value for name, value in GOOD.items() if name != field}).encode()


BAD = {
    b"not json at all": r"value: ",
    b"[1, 2]": r"value: ",
    b"null": r"value: ",
    b'{"id": "e", "account": "ada", "ver': r"",
    b"\xff\xfe" + but(): r"value: ",
    but().replace(b'"ada"', b'"\xff"'): r"account: ",
    without("account"): r"account: ",
    without("version"): r"version: ",
    without("id"): r"id: ",
    without("amount"): r"amount: ",
    but(account=None): r"account: ",
    but(account=""): r"account: ",
    but(account=17): r"account: ",
    but(account=["ada"]): r"account: ",
    but(account="a" * 5000): r"account: 5000 bytes",
    but(account="a\0b"): r"account: .*NUL",
    but(account="a").replace(b'"a"', b'"\\ud800"'): r"account: ",
    but(id=""): r"id: ",
    but(id=None): r"id: ",
    but(version=0): r"version: ",
    but(version=-1): r"version: ",
    but(version=True): r"version: ",
    but(version=False): r"version: ",
    but(version=1.5): r"version: ",
    but(version="1"): r"version: ",
    but(version=None): r"version: ",
    but(version=2**63): r"version: ",
    but(version=10**40): r"version: ",
    but(kind="loan"): r"kind: ",
    but(amount="5"): r"amount: ",
    but(amount=5.5): r"amount: ",
    but(note="x" * 1_048_576): r"value: \d+ bytes",
    but().replace(b"5}", b"[" * 10_000 + b"]" * 10_000 + b"}"): r"amount|value: ",
    but(note=0).replace(b'"note": 0', b'"note": ' + b"[" * 10_000 + b"]" * 10_000): r"note|value: ",
    but().replace(b"5}", b"5\x00}"): r"amount: ",
    but().replace(b"5}", b'5, "amount": 6}'): r"amount: .*twice",
    but().replace(b'"account": "ada"', b'"account": "ada", "account": "bo"'): r"account: .*twice",
}


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> dict[bytes, LetterRow]:
    """The dead letters of one run over all of it, by their raw bytes."""
    folder = tmp_path_factory.mktemp("bad")
    lines = write_lines(folder / "events.jsonl", [GOOD | {"id": "first"}, *BAD, GOOD | {"id": "last", "version": 2}])
    store = f"sqlite:///{folder}/inorder.db"
    run(load_consumer(f"{BALANCE}:balance"), source=str(lines), store=store, until_idle_s=0.1)
    look = open_store(store, "balance", create=False)
    found = {row.letter.record.value: row for row in look.letters()}
    assert list(look.states()) == [("ada", 2, b'{"cents":10,"refused":0}')]
    look.close()
    return found


@pytest.mark.parametrize("line", BAD, ids=lambda line: re.sub(r"[^ -~]", "?", line.decode("latin1"))[-50:])
def test_a_bad_line_becomes_a_dead_letter_that_names_the_field(letters: dict[bytes, LetterRow], line: bytes) -> None:
    letter = letters[line].letter
    assert letter.reason == "malformed"
    assert re.match(BAD[line], letter.detail), letter.detail
    assert "\n" not in letter.detail


def test_nothing_else_became_a_dead_letter(letters: dict[bytes, LetterRow]) -> None:
    assert set(letters) == set(BAD)


def test_the_command_goes_on_and_counts_them(inorder: Command, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "events.jsonl", [*BAD, GOOD])
    said = inorder("run", f"{BALANCE}:balance", "--from", file, "--until-idle", 0.1, "--json")
    assert said.code == 0
    add_up(said.document)
    assert said.document["received"] == len(BAD) + 1
    assert said.document["outcomes"]["dead_lettered"] == len(BAD)
    assert said.document["outcomes"]["applied"] == 1
    assert "Traceback" not in said.err
