"""`inorder run --workers N`: real processes over the embedded broker, and what they survive."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from pathlib import Path

import pytest

from inorder.cli.stopping import TOGETHER_S
from tests.cli.conftest import CONSUMERS, Command, Start, add_up, events, expected, write_lines
from tests.cli.process import runs, wait_until

SLOW = f"{CONSUMERS}:slow_ledger"
STATE = ("state", "--store", "sqlite:///inorder.db")


@pytest.fixture
def stream(inorder: Command, tmp_path: Path) -> str:
    """A topic with 8 accounts of 60 events, in some disorder and some of them twice."""
    rng = random.Random(5)
    found = events(8, 60)
    found = [event for event in found for _ in range(rng.choice((1, 1, 1, 2)))]
    order = sorted(range(len(found)), key=lambda at: at + rng.random() * 12)
    file = write_lines(tmp_path / "events.jsonl", [found[at] for at in order])
    topic = f"embedded://{tmp_path}/broker.db/ledger"
    assert inorder("produce", file, "--to", topic, "--key", "account", "--partitions", 8).code == 0
    return f"{topic}?session_timeout_s=1"


def applied(inorder: Command) -> int:
    """How many events have taken effect so far."""
    said = inorder(*STATE)
    return sum(row["version"] for row in said.lines) if said.code == 0 else 0


def test_a_worker_killed_in_mid_run_changes_nothing(inorder: Command, start: Start, stream: str) -> None:
    run = start("run", SLOW, "--from", stream, "--workers", 2, "--until-idle", 0.5, "--json")
    run.until(lambda: len(run.workers) == 2 and 50 < applied(inorder) < 400)
    os.kill(run.workers[0], signal.SIGKILL)
    assert run.code() == 0
    assert applied(inorder) == 480
    assert inorder(*STATE).lines == expected(8, 60)
    add_up(run.document)
    assert run.document["outcomes"]["applied"] == 480
    assert run.document["held_now"] == run.document["parked_keys"] == 0
    assert re.search(r"worker \d has ended: killed by SIGKILL; another takes its place in 0.2 s", run.err)
    assert len(run.workers) == 3
    assert not any(map(runs, run.workers))


def test_sigterm_drains_and_the_next_run_goes_on(inorder: Command, start: Start, stream: str) -> None:
    run = start("run", SLOW, "--from", stream, "--workers", 2, "--json")
    run.until(lambda: len(run.workers) == 2 and applied(inorder) > 0)
    run.signal(signal.SIGTERM)
    assert run.code() == 0
    add_up(run.document)
    assert 0 < run.document["outcomes"]["applied"] < 480
    assert run.document["outcomes"]["applied"] == applied(inorder)
    assert not any(map(runs, run.workers))
    rest = inorder("run", SLOW, "--from", stream, "--until-idle", 0.2, "--json").document
    add_up(rest)
    assert inorder(*STATE).lines == expected(8, 60)


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_drains_and_says_so_in_the_exit_code(inorder: Command, start: Start, stream: str, workers: int) -> None:
    run = start("run", SLOW, "--from", stream, "--workers", workers, "--json")
    run.until(lambda: applied(inorder) > 0)
    run.signal(signal.SIGINT)
    assert run.code() == 130
    add_up(run.document)
    assert run.document["outcomes"]["applied"] == applied(inorder)
    assert "Traceback" not in run.err


@pytest.mark.parametrize("workers", [1, 2])
def test_two_signals_that_come_together_are_one(inorder: Command, start: Start, stream: str, workers: int) -> None:
    run = start("run", SLOW, "--from", stream, "--workers", workers, "--json")
    run.until(lambda: applied(inorder) > 0)
    run.signal(signal.SIGTERM)
    time.sleep(0.02)
    run.signal(signal.SIGTERM)
    assert run.code() == 0
    assert run.document["outcomes"]["applied"] == applied(inorder)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_signal_ends_at_once(start: Start, stream: str, workers: int) -> None:
    run = start("run", f"{CONSUMERS}:stuck", "--from", stream, "--workers", workers)
    run.until(lambda: "stuck now" in run.err)
    run.signal(signal.SIGTERM)
    time.sleep(TOGETHER_S + 0.1)
    run.signal(signal.SIGTERM)
    began = time.monotonic()
    assert run.code() in {1, 128 + signal.SIGTERM}
    assert time.monotonic() - began < 2
    wait_until(lambda: not any(map(runs, run.workers)))
    assert not any(map(runs, run.workers))


def test_a_handler_that_does_not_end_is_left_at_the_limit(start: Start, stream: str) -> None:
    run = start("run", f"{CONSUMERS}:stuck", "--from", stream)
    run.until(lambda: "stuck now" in run.err)
    run.signal(signal.SIGTERM)
    assert run.code() == 1
    assert "handlers still ran after 0.5 s" in run.err


@pytest.mark.parametrize("workers", [1, 2])
def test_a_thread_that_a_handler_has_started_does_not_keep_a_run_from_ending(
    inorder: Command, start: Start, tmp_path: Path, workers: int
) -> None:
    file, topic = write_lines(tmp_path / "one.jsonl", events(1, 1)), f"embedded://{tmp_path}/one.db/ledger"
    assert inorder("produce", file, "--to", topic, "--key", "account").code == 0
    run = start("run", f"{CONSUMERS}:adrift", "--from", topic, "--workers", workers, "--until-idle", 0.1, "--json")
    assert run.code() == 0
    assert run.document["outcomes"]["dead_lettered"] == 1


def test_no_worker_outlives_its_supervisor(inorder: Command, start: Start, stream: str) -> None:
    run = start("run", SLOW, "--from", stream, "--workers", 2)
    run.until(lambda: len(run.workers) == 2)
    assert all(map(runs, run.workers))
    run.process.kill()
    wait_until(lambda: not any(map(runs, run.workers)))
    assert not any(map(runs, run.workers))


def failing_in_workers(tmp_path: Path, how: str) -> str:
    """A module that the supervisor can import and its workers cannot."""
    file = tmp_path / "failing_consumer.py"
    lines = ["import os, sys", "if 'inorder.cli' not in sys.modules:", f"    {how}", CONSUMERS.read_text()]
    file.write_text("\n".join(lines).replace("from __future__ import annotations", ""))
    return f"{file}:ledger"


def test_a_worker_whose_consumer_is_still_being_loaded_does_not_outlive_its_supervisor(
    start: Start, stream: str, tmp_path: Path
) -> None:
    how = "print('loading', os.getpid(), file=sys.stderr, flush=True); import threading; threading.Event().wait()"
    run = start("run", failing_in_workers(tmp_path, how), "--from", stream, "--workers", 2)
    run.until(lambda: len(re.findall(r"loading \d+", run.err)) == 2)
    workers = [int(pid) for pid in re.findall(r"loading (\d+)", run.err)]
    run.process.kill()
    try:
        wait_until(lambda: not any(map(runs, workers)))
        assert not any(map(runs, workers))
    finally:
        for pid in filter(runs, workers):
            os.kill(pid, signal.SIGKILL)


def complaints(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("inorder: ")]


def test_a_worker_that_never_starts_ends_the_run(inorder: Command, stream: str, tmp_path: Path) -> None:
    said = inorder("run", failing_in_workers(tmp_path, "os._exit(9)"), "--from", stream, "--workers", 2)
    assert said.code == 1
    [line] = complaints(said.err)
    assert re.fullmatch(r"inorder: worker \d could not start, 3 times in a row: exit code 9", line)
    assert said.out == ""


def test_a_mistake_that_only_a_worker_sees_is_told_once(inorder: Command, stream: str, tmp_path: Path) -> None:
    said = inorder("run", failing_in_workers(tmp_path, "raise OSError('no GPU')"), "--from", stream, "--workers", 2)
    assert said.code == 2
    [line] = complaints(said.err)
    assert line.startswith("inorder: failing_consumer.py cannot be imported: OSError: no GPU (")


FOLD = """
import inorder

@inorder.fold(key="account", version="version", id="id", name="kept")
def kept(state: {0} | None, entry: dict) -> {0}:
    return {0}()
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_state_of_another_type_is_told_once(inorder: Command, stream: str, tmp_path: Path, workers: int) -> None:
    for kind in ("int", "dict"):
        (tmp_path / f"of_{kind}.py").write_text(FOLD.format(kind))
    assert inorder("run", "of_int.py:kept", "--from", stream, "--until-idle", 0.2).code == 0
    said = inorder("run", "of_dict.py:kept", "--from", f"{stream}&group=again", "--workers", workers)
    assert said.code == 2
    [line] = complaints(said.err)
    assert re.match(
        r"inorder: stream kept: the state of key \S+ in the store is no dict: .*: give this consumer another", line
    )


def test_a_file_is_for_one_process(inorder: Command, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "events.jsonl", events(1, 1))
    said = inorder("run", SLOW, "--from", file, "--workers", 2)
    assert said.code == 2
    assert "is read by one process" in said.err


def test_what_workers_would_all_fail_of_is_told_once_and_at_once(inorder: Command, stream: str) -> None:
    elsewhere = stream.replace("/ledger?", "/elsewhere?")
    said = inorder("run", SLOW, "--from", elsewhere, "--workers", 2)
    assert said.code == 2
    [line] = complaints(said.err)
    assert "no topic 'elsewhere'" in line


def test_a_store_that_cannot_be_opened_is_told_once(inorder: Command, stream: str) -> None:
    said = inorder("run", SLOW, "--from", stream, "--workers", 2, "--store", "sqlite:///no/such/folder.db")
    assert said.code == 1
    [line] = complaints(said.err)
    assert line.startswith("inorder: store no/such/folder.db: the file cannot be opened")
    assert "another takes its place" not in said.err
