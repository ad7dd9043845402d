"""One process of `inorder run`, from within: what it reads, what it says and in which order, and how it ends.

Pure: no process is started, and the worker is played.
"""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

import inorder
from inorder.errors import UsageError
from inorder.observe import log as logs
from inorder.observe import observers
from inorder.observe.meter import Snapshot
from inorder.observe.nobody import NOBODY
from inorder.worker import child, loading
from inorder.worker import run as running
from inorder.worker.child import SPARE_S, News, Order, Stop
from inorder.worker.settings import Settings
from tests.worker.bench import until
from tests.worker.consumers import FOLD, declare, nothing

SETTINGS = Settings(source="file:x", worker="3")
ORDER = Order(target="bank:balance", settings=SETTINGS, log_level="debug")


class Channel(io.BytesIO):
    """What was said, of which a write takes only so much."""

    most = 1_000_000

    def write(self, data: Any) -> int:
        assert child._telling.locked(), "another thread may speak in the middle of the line"
        return super().write(bytes(data[: self.most]))

    def close(self) -> None:
        """What was said can be read still."""

    @property
    def news(self) -> list[News]:
        return [msgspec.json.decode(line, type=News) for line in self.getvalue().splitlines()]


# The wish to stop.


def test_a_wish_to_stop_reaches_the_worker_whenever_it_comes() -> None:
    acts: list[str] = []
    early = Stop()
    early.wish(signal.SIGTERM, None)
    assert early.wished
    early.leads_to(lambda: acts.append("early"), 1.0)
    assert acts == ["early"], "there was no worker yet"
    late = Stop()
    late.leads_to(lambda: acts.append("late"), 1.0)
    assert (late.wished, acts) == (False, ["early"])
    late.wish()
    assert (late.wished, acts) == (True, ["early", "late"])


# What it says.


def test_a_long_line_goes_out_whole() -> None:
    channel = Channel()
    channel.most = 7
    child._tell(channel, News(error="a long story"))
    child._tell(channel, News(up=True))
    assert channel.news == [News(error="a long story"), News(up=True)]


def test_what_is_not_so_is_not_said() -> None:
    channel = Channel()
    child._tell(channel, News(tally=3))
    assert channel.getvalue() == b'{"tally":3}\n'
    nothing_else = News(tally=3, up=False, ended=None, numbers=None, error=None, usage=False)
    assert channel.news == [nothing_else], "nor is it read"


def test_a_supervisor_that_is_dead_is_told_nothing() -> None:
    class Broken(Channel):
        def write(self, data: Any) -> int:
            raise BrokenPipeError

    child._tell(Broken(), News(up=True))
    assert not child._telling.locked()


def test_an_unexpected_error_is_named_and_inorders_own_speak_for_themselves() -> None:
    assert child._named(UsageError("a wrong URL")) == "a wrong URL"
    assert child._named(KeyError("x")) == "unexpected KeyError: 'x'"


def test_what_is_done_once_is_done_once() -> None:
    done: list[int] = []
    once = child._Once(lambda: done.append(1))
    assert done == []
    once()
    once()
    assert done == [1]


def test_what_it_counts_is_said_now_and_then_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "REPORT_EVERY_S", 0.001)
    channel, effects = Channel(), [0]

    def snapshot() -> Snapshot:
        effects[0] += 1
        return Snapshot(effects=effects[0])

    watching: Any = SimpleNamespace(snapshot=snapshot)
    with child._reporting(watching, channel):
        until("it has reported", lambda: effects[0] >= 3)
    told = effects[0]
    assert [one.numbers.effects for one in channel.news if one.numbers] == list(range(1, told + 1))
    assert not [thread for thread in threading.enumerate() if thread.name == "report"]


def test_what_it_counted_is_said_a_last_time_whatever_it_ends_of() -> None:
    channel = Channel()
    watching: Any = SimpleNamespace(snapshot=lambda: Snapshot(effects=7))
    with pytest.raises(ValueError, match="a bug"), child._reporting(watching, channel):
        raise ValueError("a bug")
    assert [one.numbers for one in channel.news] == [Snapshot(effects=7)]


# What it is for.


class Scene:
    """A child whose worker is played."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.channel, self.stop = Channel(), Stop()
        self.log: list[Any] = []
        self.worker: Any = None
        self.result = True
        self.meanwhile: Callable[[], None] = lambda: None
        self.watching: Any = None
        self.daemons: list[bool] = []
        consumer = declare(FOLD, nothing, lambda entry: None, limits=inorder.Limits(drain_s=7.0))

        def load(target: str) -> Any:
            self.log.append(("load", target))
            return consumer

        @contextlib.contextmanager
        def observed(*given: Any) -> Iterator[Any]:
            self.log.append(("observed", *given[1:]))
            yield self.watching
            self.log.append("observed no more")

        monkeypatch.setattr(loading, "load_consumer", load)
        monkeypatch.setattr(observers, "observed", observed)
        monkeypatch.setattr(logs, "log_to_stderr", lambda *given: self.log.append(("log", *given)))
        monkeypatch.setattr(running, "Worker", self._make)
        monkeypatch.setattr(child, "_watch_parent", lambda *given: self.log.append(("watch", *given)))
        monkeypatch.setattr(child, "threading", SimpleNamespace(Thread=self._thread, Event=threading.Event))
        monkeypatch.setattr(child, "dedicate", lambda in_threads: self.log.append(("dedicated", in_threads)))

    def _thread(self, daemon: bool, **given: Any) -> threading.Thread:
        self.daemons.append(daemon)
        return threading.Thread(daemon=daemon, **given)

    def _make(self, consumer: Any, settings: Settings, on_poll: Callable[[], None], observer: Any) -> Any:
        self.log.append(("made", settings, observer))
        self.on_poll = on_poll
        self.worker = SimpleNamespace(tally=8, run=self._run, stop=lambda: self.log.append("stopped"))
        return self.worker

    def _run(self) -> bool:
        self.log.append("run")
        self.on_poll()
        self.on_poll()
        self.meanwhile()
        return self.result

    def work(self, order: Order = ORDER) -> bool:
        return child._work(order, self.channel, self.stop)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


@pytest.mark.parametrize("result", [True, False])
def test_a_child_says_where_it_counts_that_it_polls_and_that_it_ends(scene: Scene, result: bool) -> None:
    scene.result = result
    assert scene.work() is result
    assert scene.channel.news == [News(tally=8), News(up=True), News(ended="idle")]
    assert [one for one in scene.log if one[0] in {"log", "load"}] == [("log", "debug", "3"), ("load", "bank:balance")]
    assert ("watch", scene.stop) in scene.log
    assert scene.stop.patience_s == 7.0 + SPARE_S, "the limit that its handlers have"
    assert ("observed", SETTINGS, False, False) in scene.log
    assert scene.log[-4:] == [("made", SETTINGS, NOBODY), ("dedicated", False), "run", "observed no more"]


def test_a_child_that_is_told_to_stop_says_so(scene: Scene) -> None:
    scene.meanwhile = scene.stop.wish
    scene.work()
    assert "stopped" in scene.log
    assert scene.channel.news[-1] == News(ended="stopped")


def test_a_child_that_was_told_to_stop_before_it_had_a_worker_stops_it(scene: Scene) -> None:
    scene.stop.wish()
    scene.work()
    assert scene.log.index("stopped") < scene.log.index("run")


@pytest.mark.parametrize("watched", [True, False])
def test_a_child_that_is_watched_says_what_it_counted_before_it_says_that_it_ends(scene: Scene, watched: bool) -> None:
    scene.watching = SimpleNamespace(snapshot=lambda: Snapshot(effects=7))
    scene.work(msgspec.structs.replace(ORDER, watched=watched, otel=True))
    assert ("observed", SETTINGS, watched, True) in scene.log
    assert ("made", SETTINGS, scene.watching) in scene.log
    numbers = [News(numbers=Snapshot(effects=7))] if watched else []
    assert scene.channel.news == [News(tally=8), News(up=True), *numbers, News(ended="idle")]
    assert scene.daemons == [True] * (1 + watched), "none of them keeps the process from ending"


# The process.


class Process:
    """All of a process that `main` touches."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, line: bytes) -> None:
        self.channel = Channel()
        self.signals: dict[int, Any] = {}
        self.unblocked: list[int] = []
        self.copies: list[tuple[int, int]] = []
        self.work: Callable[[Order, Any, Stop], bool] = lambda order, channel, stop: True
        self.orders: list[Order] = []
        played = SimpleNamespace(
            dup=self._copy,
            dup2=lambda of, to: self.copies.append((of, to)),
            fdopen=self._open,
        )
        monkeypatch.setattr(child, "os", played)
        monkeypatch.setattr(
            child,
            "signal",
            SimpleNamespace(
                signal=self.signals.__setitem__,
                pthread_sigmask=self._unblock,
                SIGTERM=signal.SIGTERM,
                SIGINT=signal.SIGINT,
                SIG_IGN=signal.SIG_IGN,
                SIG_UNBLOCK=signal.SIG_UNBLOCK,
            ),
        )
        monkeypatch.setattr(child, "sys", SimpleNamespace(stdin=SimpleNamespace(buffer=io.BytesIO(line))))
        monkeypatch.setattr(child, "_work", self._work)

    def _unblock(self, how: int, numbers: list[int]) -> None:
        assert how == signal.SIG_UNBLOCK
        assert all(number in self.signals for number in numbers), "one that came meanwhile must find it ignored"
        self.unblocked += numbers

    def _copy(self, of: int) -> int:
        assert self.copies == [], "it is standard error by then"
        return of + 100

    def _open(self, number: int, mode: str, buffering: int) -> Channel:
        assert (number, mode, buffering) == (101, "wb", 0), "news go where standard output went, at once"
        return self.channel

    def _work(self, order: Order, channel: Any, stop: Stop) -> bool:
        assert channel is self.channel
        assert self.copies == [(2, 1)], "what handlers print goes to standard error"
        self.orders.append(order)
        return self.work(order, channel, stop)


LINE = msgspec.json.encode(ORDER) + b"\n"


@pytest.mark.parametrize(("result", "code"), [(True, 0), (False, 1)])
def test_a_process_does_what_it_is_told_and_says_by_its_code_how_it_ended(
    monkeypatch: pytest.MonkeyPatch, result: bool, code: int
) -> None:
    process = Process(monkeypatch, LINE)

    def work(order: Order, channel: Any, stop: Stop) -> bool:
        process.signals[signal.SIGTERM](signal.SIGTERM, None)
        assert stop.wished, "from the first moment on"
        return result

    process.work = work
    assert child.main() == code
    assert process.orders == [ORDER]
    assert process.signals[signal.SIGINT] is signal.SIG_IGN, "the supervisor passes it on"
    assert process.unblocked == [signal.SIGINT], "what a handler starts is not left without it"
    assert process.channel.news == []


def test_a_process_whose_supervisor_died_before_it_spoke_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(monkeypatch, b"")
    assert child.main() == 0
    assert process.orders == []


@pytest.mark.parametrize(
    ("error", "news"),
    [
        (UsageError("a wrong URL"), News(error="a wrong URL", usage=True)),
        (ValueError("a bug"), News(error="unexpected ValueError: a bug")),
    ],
    ids=["a mistake", "a bug"],
)
def test_a_process_says_what_it_dies_of(
    monkeypatch: pytest.MonkeyPatch, error: Exception, news: News, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "inorder.worker")
    process = Process(monkeypatch, LINE)

    def fail(order: Order, channel: Any, stop: Stop) -> bool:
        raise error

    process.work = fail
    assert child.main() == 1
    assert process.channel.news == [news]
    assert ("the traceback" in caplog.text) is isinstance(error, ValueError), "where it was not meant to happen"
    assert ("ValueError: a bug" in caplog.text) is isinstance(error, ValueError)


def test_an_order_that_cannot_be_read_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(monkeypatch, b"{}\n")
    assert child.main() == 1
    assert "ValidationError" in (process.channel.news[0].error or "")


class Ended(BaseException):
    pass


@pytest.mark.parametrize(("works", "patience_s"), [(True, 12.0), (False, 0.0)])
def test_a_process_whose_supervisor_dies_finishes_what_runs_and_is_ended_when_that_takes_too_long(
    monkeypatch: pytest.MonkeyPatch, works: bool, patience_s: float
) -> None:
    stop, log = Stop(), list[Any]()
    if works:
        stop.leads_to(lambda: None, patience_s)
    stdin = [b"more", b"and more", b""]

    def read(number: int, most: int) -> bytes:
        log.append(("read", number, stop.wished))
        return stdin.pop(0)

    def end(code: int) -> None:
        log.append(("exit", code))
        raise Ended

    event = SimpleNamespace(wait=lambda seconds: log.append(("wait", seconds, stop.wished)))
    monkeypatch.setattr(child, "os", SimpleNamespace(read=read, _exit=end))
    monkeypatch.setattr(child, "threading", SimpleNamespace(Event=lambda: event))
    with pytest.raises(Ended):
        child._watch_parent(stop)
    assert log == [("read", 0, False)] * 3 + [("wait", patience_s, True), ("exit", 1)]


@pytest.mark.parametrize(("in_threads", "switch_s"), [(False, child.SWITCH_S), (True, child.THREADS_SWITCH_S)])
def test_a_process_that_is_a_worker_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, in_threads: bool, switch_s: float
) -> None:
    log: list[Any] = []
    played = SimpleNamespace(
        freeze=lambda: log.append("frozen"), set_threshold=lambda *given: log.append(("seldom", given))
    )
    monkeypatch.setattr(child, "gc", played)
    monkeypatch.setattr(child, "sys", SimpleNamespace(setswitchinterval=log.append))
    child.dedicate(in_threads)
    assert log == [switch_s, "frozen", ("seldom", child.SELDOM)]
    assert sys.getswitchinterval() > switch_s
    assert child.SELDOM[0] > gc.get_threshold()[0]
