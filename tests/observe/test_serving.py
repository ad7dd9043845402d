"""`inorder run --metrics`: what is served while it runs, by one process and for several."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path

import pytest

from inorder.errors import UsageError
from inorder.observe import desk, metrics
from inorder.observe.desk import LIVE_S, Desk, Workers
from inorder.observe.meter import Snapshot
from inorder.observe.serving import Answer, Serving, address_of
from inorder.observe.stock import Stock
from inorder.wiring import open_store
from tests.cli.conftest import CONSUMERS, Command, Start, events, write_lines
from tests.observe.scraping import Scraped, await_

LEDGER = f"{CONSUMERS}:ledger"


@pytest.fixture
def topic(inorder: Command, tmp_path: Path) -> str:
    """A topic with 8 accounts of 30 events."""
    file = write_lines(tmp_path / "events.jsonl", events(8, 30))
    url = f"embedded://{tmp_path}/broker.db/ledger"
    assert inorder("produce", file, "--to", url, "--key", "account", "--partitions", 8).code == 0
    return f"{url}?session_timeout_s=1"


def test_several_processes_are_one_page_and_a_killed_one_takes_nothing_back(start: Start, topic: str) -> None:
    run = start("run", LEDGER, "--from", topic, "--workers", 2, "--metrics", "127.0.0.1:0")
    at = Scraped(run)

    def settled() -> bool:
        page = at.metrics()
        applied = page.value("inorder_events_total", outcome="applied")
        return applied == 240 and page.value("inorder_partitions") == 8 and page.value("inorder_workers") == 2

    await_(run, settled)
    page = at.metrics()
    assert page.value("inorder_received_events_total") == 240
    assert page.value("inorder_effect_order_checks_total") == 240
    assert page.value("inorder_effect_order_violations_total") == 0
    assert page.value("inorder_batch_events_sum") == 240
    assert page.value("inorder_end_to_end_seconds_count") > 0
    await_(run, lambda: at.metrics().value("inorder_lag_events") == 0)
    assert len([1 for name, _ in at.metrics() if name == "inorder_lag_events"]) == 8
    assert [(one["key"], one["effects"]) for one in at.keys()["busiest"][:2]] == [("a00", 30), ("a01", 30)]
    assert at.get("/livez") == at.get("/readyz") == (200, "ok\n")

    os.kill(run.workers[0], signal.SIGKILL)
    await_(run, lambda: at.metrics().value("inorder_worker_restarts_total") == 1)
    await_(run, lambda: at.metrics().value("inorder_workers") == 2)
    page = at.metrics()
    assert page.value("inorder_events_total", outcome="applied") == 240
    assert page.value("inorder_batch_events_sum") == 240
    await_(run, lambda: at.metrics().value("inorder_partitions") == 8)
    run.signal(signal.SIGTERM)
    assert run.code() == 0


def workers(polled_s: float = 0.0, wanted: int = 1) -> Workers:
    return Workers([Snapshot(polled_s=polled_s)], [], wanted, 0)


def test_a_poll_loop_that_does_not_turn_is_not_alive(tmp_path: Path) -> None:
    stock = Stock(lambda: open_store(f"sqlite:///{tmp_path}/s.db", "s"), None)
    assert Desk("s", "1", lambda: workers(1.0), stock).live("").status == 200
    assert Desk("s", "1", lambda: workers(LIVE_S + 1), stock).live("").status == 503
    assert Desk("s", "1", lambda: Workers([], [], 1, 0), stock).live("").status == 200


def test_readiness_is_the_store_and_the_workers(tmp_path: Path) -> None:
    folder = tmp_path / "not yet"
    stock = Stock(lambda: open_store(f"sqlite:///{folder}/s.db", "s"), None)
    ready = Desk("s", "1", workers, stock).ready
    assert ready("").body == b"the store has not been asked yet\n"
    stock.look()
    assert ready("").status == 503
    assert b"the file cannot be opened" in ready("").body
    assert stock.snapshot().value(metrics.STORE_UP) == 0
    folder.mkdir()
    stock.look()
    assert ready("").status == 200
    assert stock.snapshot().value(metrics.STORE_UP) == 1
    assert Desk("s", "1", lambda: workers(wanted=2), stock).ready("").body == b"1 of 2 workers do not run\n"


def address_of_this_machine() -> str | None:
    """One that is not the loopback's, if there is one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return None
        found = str(probe.getsockname()[0])
        return None if found.startswith("127.") else found


def test_keys_are_named_to_the_machine_itself_alone() -> None:
    outside = address_of_this_machine()
    if outside is None:
        pytest.skip("this machine has no address but the loopback's")
    page = partial(Answer, 200, b"page")
    with Serving(("", 0), {"/open": lambda _: page()}, {"/keys": lambda _: page()}) as at:

        def ask(host: str, path: str) -> int:
            try:
                return int(urllib.request.urlopen(f"http://{host}:{at.port}{path}", timeout=10).status)
            except urllib.error.HTTPError as error:
                return error.code

        assert (ask("127.0.0.1", "/keys"), ask(outside, "/keys"), ask(outside, "/open")) == (200, 403, 200)


def test_keys_are_named_to_the_machine_itself_over_ipv4_where_ipv6_is_listened_to() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6 that takes IPv4 as well")
    with Serving(("::", 0), {}, {"/keys": lambda _: Answer(200, b"page")}) as at:
        assert urllib.request.urlopen(f"http://127.0.0.1:{at.port}/keys", timeout=10).status == 200


def answered(at: Serving) -> None:
    """Wait until nobody is being answered any more."""
    for thread in threading.enumerate():
        if "process_request" in thread.name:
            thread.join(10)
            assert not thread.is_alive()


@pytest.mark.parametrize("asked", [b"GET /metrics HTTP/1.1\r\n", b"GET /large HTTP/1.1\r\n\r\n"])
def test_who_hangs_up_in_the_middle_costs_no_traceback(asked: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    begun, hung_up = threading.Event(), threading.Event()

    def large(accept: str) -> Answer:
        begun.set()
        assert hung_up.wait(10)
        return Answer(200, bytes(50_000_000))

    with Serving(("127.0.0.1", 0), {"/large": large}, {}) as at:
        with socket.create_connection(("127.0.0.1", at.port)) as asker:
            asker.sendall(asked)
            if b"/large" in asked:
                assert begun.wait(10)
            asker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closed with a reset
        hung_up.set()
        with pytest.raises(urllib.error.HTTPError):  # so the one before has its thread by now
            urllib.request.urlopen(f"http://127.0.0.1:{at.port}/", timeout=10)
        answered(at)
    assert capsys.readouterr().err == ""


def test_a_page_that_fails_is_told_of_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def fails(accept: str) -> Answer:
        raise ValueError("a bug")

    with Serving(("127.0.0.1", 0), {"/metrics": fails}, {}) as at:
        with pytest.raises(OSError, match="closed connection"):
            urllib.request.urlopen(f"http://127.0.0.1:{at.port}/metrics", timeout=10)
        answered(at)
    (told,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert told.message == "127.0.0.1 was not answered"
    assert told.exc_info is not None


@pytest.mark.parametrize("place", ["", "x", "localhost", "70000", "a:b", "-1"])
def test_a_place_that_is_none_is_told(inorder: Command, place: str) -> None:
    said = inorder("run", LEDGER, "--from", "e.jsonl", f"--metrics={place}")
    assert said.code == 2
    assert f"inorder: --metrics {place!r} is no place to listen: write a port, as 9464, or HOST:PORT" in said.err


def test_a_port_that_is_taken_is_told(inorder: Command, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "e.jsonl", events(1, 1))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = inorder("run", LEDGER, "--from", file, "--until-idle", 0.1, "--metrics", f"127.0.0.1:{port}")
    assert said.code == 2
    assert f"inorder: --metrics cannot listen at 127.0.0.1:{port}: Address already in use" in said.err


def test_without_the_extra_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "prometheus_client", None)
    with pytest.raises(UsageError, match=r"pip install 'inorder\[metrics\]'"):
        desk.check("9464")
    desk.check(None)


def test_places() -> None:
    assert address_of("9464") == ("", 9464)
    assert address_of("127.0.0.1:9464") == ("127.0.0.1", 9464)
    assert address_of("[::1]:9464") == ("::1", 9464)
