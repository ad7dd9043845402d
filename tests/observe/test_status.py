"""`inorder status` and `inorder top`: what an operator is told."""

from __future__ import annotations

import json
import re
import signal
import socket
from pathlib import Path

import pytest

from inorder.cli.status import ranges
from inorder.core.event import Partition
from inorder.core.order import Order
from inorder.wiring import open_store
from tests.cli.conftest import CONSUMERS, Command, Start, events, write_lines
from tests.observe.scraping import Scraped, await_

LEDGER = f"{CONSUMERS}:ledger"


@pytest.fixture
def troubled(tmp_path: Path) -> Path:
    """Three accounts of five events: one refuses its second event, one lacks its third, one is well."""
    found = events(3, 5)
    found[3]["amount"] = 13
    return write_lines(tmp_path / "events.jsonl", [one for one in found if one["id"] != "1-3"])


def test_what_waits_and_what_failed_is_told(inorder: Command, troubled: Path) -> None:
    inorder("run", LEDGER, "--from", troubled, "--until-idle", 0.1)
    [stream] = inorder("status", "--json").document["streams"]
    assert (stream["stream"], stream["order"], stream["received"]) == ("ledger", "strict", 14)
    assert sum(stream["outcomes"].values()) == 14
    assert stream["held"] == 5
    assert stream["waiting_keys"].keys() == {"gap", "parked"}
    [parked] = stream["parked"]
    assert (parked["key"], parked["version"], parked["behind"], parked["why"]) == (
        "a00",
        2,
        3,
        "ValueError: 13 is refused",
    )
    [letters] = stream["dead_letters"]
    assert (letters["reason"], letters["open"], letters["keys"]) == ("failed", 1, 1)
    assert stream["replay"] is None
    assert stream["workers"] == []

    text = inorder("status").out
    assert "stream    ledger, order strict\n" in text
    assert re.search(r"^received  14: 8 applied, ", text, re.MULTILINE)
    assert re.search(r"^held      5 events; 1 key for a missing version \(the oldest .+\), 1 key parked", text, re.M)
    assert re.search(r"^letters   1 open: 1 failed \(1 key, the oldest ", text, re.M)
    assert "workers   0 live, 0 partitions\n" in text
    assert re.search(r"^a00 +2 +3 .* ValueError: 13 is refused$", text, re.M)
    assert "\x1b" not in text
    assert not re.search(r" $", text, re.M)


def test_live_workers_and_their_partitions_are_told_and_a_killed_one_falls_silent(
    inorder: Command, start: Start, tmp_path: Path
) -> None:
    file = write_lines(tmp_path / "events.jsonl", events(8, 30))
    topic = f"embedded://{tmp_path}/broker.db/ledger"
    inorder("produce", file, "--to", topic, "--key", "account", "--partitions", 8)
    run = start("run", LEDGER, "--from", f"{topic}?session_timeout_s=1", "--workers", 2, "--metrics", 0)

    def workers() -> list[tuple[str, list[str]]]:
        said = inorder("status", "--json")
        if said.code:
            return []
        return [(one["worker"], one["partitions"]) for one in said.document["streams"][0]["workers"] if one["live"]]

    every = [f"ledger/{number}" for number in range(8)]
    await_(run, lambda: len(workers()) == 2 and sorted(p for _, had in workers() for p in had) == every)
    assert sorted(name for name, _ in workers()) == ["1", "2"]
    assert re.search(r"^2 +\d+ +live .* ledger/\d", inorder("status").out, re.M)

    at = Scraped(run)
    await_(run, lambda: at.keys()["effects"] == 240)
    top = inorder("top", at.base.rpartition(":")[2])
    assert top.code == 0
    assert re.search(r"^a00 +30 +12\.5%$", top.out, re.M)
    assert inorder("top", f"127.0.0.1:{at.base.rpartition(':')[2]}", "--json").document["busiest"][0]["key"] == "a00"
    run.signal(signal.SIGTERM)
    assert run.code() == 0
    assert workers() == []


def test_a_worker_that_says_nothing_any_more_is_called_silent(
    inorder: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"sqlite:///{tmp_path}/inorder.db", "s")
    store.register(Order.LATEST, 0)
    store.beat(store.tally("7"), [Partition("t", number) for number in (0, 1, 2, 5)], 80.0)
    store.close()
    live = inorder("status").out
    assert re.search(r"^7 +1 +live +.* 80  t/0-2 t/5$", live, re.M)
    assert "now 80 events/s" in live
    monkeypatch.setattr("inorder.observe.status.SILENT_S", 0.0)
    silent = inorder("status").out
    assert "workers   0 live, 0 partitions; 1 silent" in silent
    assert re.search(r"^7 +1 +silent for under 1 s .* 0  t/0-2 t/5$", silent, re.M)


def test_a_replay_under_way_is_told(inorder: Command, troubled: Path) -> None:
    inorder("run", LEDGER, "--from", troubled, "--until-idle", 0.1)
    assert inorder("dlq", "plan", LEDGER, "--json").code == 0
    look = open_store("sqlite:///inorder.db", "ledger")
    [plan] = look.plans()
    [letter] = list(look.plan_letters(plan.id))
    with look.transaction() as tx:
        tx.execute(
            "INSERT INTO inorder_plan_letters (plan, place, letter, result) VALUES (?, 1, ?, 'applied')", (plan.id, -1)
        )
    look.close()
    assert letter.result is None
    [stream] = inorder("status", "--json").document["streams"]
    assert stream["replay"]["letters"] == {"applied": 1, "duplicate": 0, "skipped": 0, "failed": 0, "left": 1}
    assert re.search(rf"^replay    plan {plan.id} by .*: 1 applied, 1 left$", inorder("status").out, re.M)


def test_watching_goes_on_until_ctrl_c(inorder: Command, start: Start, troubled: Path) -> None:
    inorder("run", LEDGER, "--from", troubled, "--until-idle", 0.1)
    watch = start("status", "--watch", "--every", 0.1, "--json")
    await_(watch, lambda: len(watch.out.splitlines()) >= 2)
    watch.process.send_signal(signal.SIGINT)
    assert watch.code() == 130
    for line in watch.out.splitlines():
        assert json.loads(line)["streams"][0]["held"] == 5
    assert watch.err == ""


def test_mistakes_are_told(inorder: Command, troubled: Path) -> None:
    assert inorder("status").code == 3
    inorder("run", LEDGER, "--from", troubled, "--until-idle", 0.1)
    other = inorder("status", "--stream", "other")
    assert (other.code, other.err) == (
        3,
        "inorder: store sqlite:///inorder.db has no stream 'other': it has ledger\n",
    )
    assert inorder("top", "nowhere").code == 2
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    said = inorder("top", port)
    assert said.code == 1
    assert re.fullmatch(rf"inorder: no run answers at localhost:{port}: .*; is it started with .*\?\n", said.err)


def test_partitions_are_written_short() -> None:
    assert ranges(["a/0", "a/1", "a/10", "a/2", "b/1"]) == "a/0-2 a/10 b/1"
    assert ranges([]) == ""
