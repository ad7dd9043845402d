"""Which event loop async handlers run on, and how finely its timers count."""

from __future__ import annotations

import asyncio
import selectors
import sys

import pytest

from inorder.worker import turning

linux = pytest.mark.skipif(sys.platform != "linux", reason="epoll is Linux's")


@pytest.fixture(params=["asyncio", "uvloop"])
def _loop_of(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With uvloop, and without."""
    if request.param == "asyncio":
        monkeypatch.setattr(turning, "uvloop", None)
    else:
        pytest.importorskip("uvloop")


class Waits:
    """What was waited for, and how: nobody waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.finely: list[float] = []
        self.coarsely: list[float | None] = []
        monkeypatch.setattr("select.select", lambda read, write, error, timeout: self.finely.append(timeout))
        monkeypatch.setattr(selectors.EpollSelector, "select", self._select)

    def _select(self, timeout: float | None = None) -> list[object]:
        self.coarsely.append(timeout)
        return []


@linux
def test_timers_of_asyncios_loop_are_finer_than_a_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not how soon they come, which is the machine's affair, but that nobody rounds them up."""
    selector, waits = turning.FineSelector(), Waits(monkeypatch)
    for timeout in (0.000_25, 0, None):
        assert selector.select(timeout) == []
    assert (waits.finely, waits.coarsely) == ([0.000_25], [0, 0, None])
    selector.close()


@linux
def test_a_descriptor_that_cannot_be_watched_finely_is_watched_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    selector, waits = turning.FineSelector(), Waits(monkeypatch)
    for descriptor in (1023, 1024):
        monkeypatch.setattr(selector, "fileno", lambda descriptor=descriptor: descriptor)
        assert selector.select(0.5) == []
    assert (waits.finely, waits.coarsely) == ([0.5], [0, 0.5])
    monkeypatch.undo()
    selector.close()


@pytest.mark.usefixtures("_loop_of")
def test_the_loop_sees_what_is_ready_and_its_timers_end() -> None:
    loop = turning.new_loop()
    if turning.uvloop is not None:
        assert isinstance(loop, turning.uvloop.Loop)
    elif sys.platform == "linux":
        assert isinstance(loop._selector, turning.FineSelector)  # type: ignore[attr-defined]

    async def course() -> list[bytes]:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await asyncio.sleep(0.001)
        rest = await reader.read()
        writer.close()
        server.close()
        return [rest]

    try:
        assert loop.run_until_complete(course()) == [b""]
    finally:
        loop.close()


@pytest.mark.usefixtures("_loop_of")
def test_a_loop_that_the_policy_makes_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(asyncio.SelectorEventLoop):
        """Like one of another library."""

    monkeypatch.setattr(asyncio, "new_event_loop", lambda: Own(selectors.SelectSelector()))
    loop = turning.new_loop()
    assert type(loop) is Own
    loop.close()


@pytest.mark.usefixtures("_loop_of")
def test_of_a_loop_that_is_not_used_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = asyncio.SelectorEventLoop()
    monkeypatch.setattr(asyncio, "new_event_loop", lambda: plain)
    loop = turning.new_loop()
    assert (loop is not plain, plain.is_closed(), loop.is_closed()) == (True, True, False)
    loop.close()


@pytest.mark.usefixtures("_loop_of")
def test_elsewhere_than_on_linux_uvloop_is_used_or_the_loop_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = asyncio.SelectorEventLoop()
    monkeypatch.setattr(asyncio, "new_event_loop", lambda: plain)
    monkeypatch.setattr(sys, "platform", "darwin")
    loop = turning.new_loop()
    assert (loop is plain) == (turning.uvloop is None)
    loop.close()
    plain.close()
