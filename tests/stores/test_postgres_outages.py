"""What a PostgreSQL server that goes away looks like: one line, and nothing lost or written twice."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from inorder.errors import Unreachable
from inorder.stores.postgres import store
from tests.services import Postgres
from tests.stores.making import changes, line_of, opened, row, versions, write
from tests.stores.proxy import Wire

pytestmark = pytest.mark.postgres

COMMIT = b"COMMIT\0"
"""As it goes over the wire."""


def test_a_restarted_server_is_found_again(weather_server: Postgres, url: str) -> None:
    with closing(opened(url)) as made:
        write(made, [row("a", 0)])
        weather_server.stop_immediate()
        with pytest.raises(Unreachable) as failure:
            write(made, [row("a", 1)])
        line_of(failure)
        weather_server.start()
        write(made, [row("a", 1)])
        assert versions(made) == {"a": 2}


def test_a_process_with_many_files_open_uses_its_connections_again(url: str, many_files: None) -> None:
    with closing(opened(url)) as made:
        write(made, [row("a", 0)])
        write(made, [row("a", 1)])
        assert versions(made) == {"a": 2}


@pytest.fixture
def many_files() -> Iterator[None]:
    """Whatever is opened within has a number above those that `select` can watch."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, before[1]), before[1]))
    with ExitStack() as files:
        while files.enter_context(open(os.devnull)).fileno() < 1024:
            pass
        yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_server_that_stops_under_a_handler_is_an_outage(weather_server: Postgres, url: str) -> None:
    def stop_and_go_on(tx: Any) -> None:
        tx.execute("SELECT 1")
        weather_server.stop_immediate()
        with tx.savepoint():
            tx.execute("SELECT 1")

    with closing(opened(url)) as made:
        try:
            with pytest.raises(Unreachable) as failure, made.transaction() as tx:
                stop_and_go_on(tx)
        finally:
            weather_server.start()
        line_of(failure)
        write(made, [row("a", 0)])


@pytest.mark.parametrize("linger", [False, True])
@pytest.mark.parametrize("deliver", [False, True])
def test_a_commit_whose_answer_is_lost_is_looked_up(url: str, deliver: bool, linger: bool) -> None:
    with Wire(url) as wire, closing(opened(wire.url)) as made:
        write(made, [row("a", 0)])
        wire.cut_at(COMMIT, deliver=deliver, linger=linger)
        if deliver:
            write(made, [row("a", 1)])
        else:
            with pytest.raises(Unreachable, match="nothing was committed") as failure:
                write(made, [row("a", 1)])
            line_of(failure)
        assert wire.cuts == 1
        assert versions(made) == {"a": 2 if deliver else 1}
        write(made, [row("a", 2 if deliver else 1)])


@pytest.mark.parametrize("deliver", [False, True])
def test_a_server_that_dies_in_a_commit_is_asked_when_it_is_back(
    weather_server: Postgres, url: str, deliver: bool
) -> None:
    with Wire(url) as wire, closing(opened(wire.url)) as made:

        def start_again() -> None:
            wire.was_cut.wait()
            time.sleep(0.5)
            weather_server.start()

        write(made, [row("a", 0)])
        starting = threading.Thread(target=start_again)
        starting.start()
        wire.on_cut = weather_server.stop_immediate
        wire.cut_at(COMMIT, deliver=deliver)
        if deliver:
            write(made, [row("a", 1)])
        else:
            with pytest.raises(Unreachable, match="nothing was committed"):
                write(made, [row("a", 1)])
        starting.join()
        assert versions(made) == {"a": 2 if deliver else 1}


def test_a_server_that_stays_away_leaves_the_outcome_open(
    weather_server: Postgres, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "UNKNOWN_S", 0.5)
    with Wire(url) as wire, closing(opened(wire.url)) as made:
        wire.on_cut = weather_server.stop_immediate
        wire.cut_at(COMMIT, deliver=True)
        with pytest.raises(Unreachable, match="is looked up later") as failure:
            write(made, [row("a", 0)])
        line_of(failure)
        weather_server.start()


def test_a_lost_session_that_does_not_end_is_not_waited_for_for_ever(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "UNKNOWN_S", 0.5)
    with Wire(url) as wire, closing(opened(wire.url)) as made:
        monkeypatch.setattr(store, "end_sessions", lambda link, labels: False)
        wire.cut_at(COMMIT, deliver=True)
        with pytest.raises(Unreachable, match="is looked up later") as failure:
            write(made, [row("a", 0)])
        line_of(failure)


def test_writers_under_load_come_through_restarts(weather_server: Postgres, url: str) -> None:
    made = opened(url)
    tally = made.tally("w")
    stop = threading.Event()
    done = [0] * 4
    outages = [0] * 4

    def advance(number: int) -> None:
        while not stop.is_set():
            rows = [row(f"{number}-{n:03d}", done[number]) for n in range(50)]
            try:
                write(made, rows, changes(tally, counts={"applied": 50}))
                done[number] += 1
            except Unreachable:
                outages[number] += 1
                time.sleep(0.05)

    threads = [threading.Thread(target=advance, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        time.sleep(0.7)
        weather_server.stop_immediate()
        time.sleep(0.2)
        weather_server.start()
    time.sleep(0.7)
    stop.set()
    for thread in threads:
        thread.join()
    assert sum(outages) > 0
    assert versions(made) == {f"{number}-{n:03d}": done[number] for number in range(4) for n in range(50)}
    assert made.counts() == {"applied": 50 * sum(done)}
    made.close()
