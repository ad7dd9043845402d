"""What signals do to a command, and to a process that is ending because of one."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from inorder.cli import stopping
from inorder.cli.stopping import TOGETHER_S, Stopping


@pytest.fixture(autouse=True)
def _as_they_were() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_without_a_signal_all_is_as_it_was() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Stopping(lambda: None, 10.0):
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_that_comes_again_while_the_process_ends_does_not_end_it_otherwise() -> None:
    stops: list[str] = []
    with Stopping(lambda: stops.append("stop"), 10.0) as found:
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    assert (stops, found.received) == (["stop"], signal.SIGTERM)


class Blocked:
    """Time, for a main thread that a signal is sent to while it may be in a call that Python cannot interrupt."""

    def __init__(self, again_at: float) -> None:
        self.now = 0.0
        self._again_at = again_at

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Handlers run at once."""
        self._pass(self.now + seconds, min(self._again_at, self.now + seconds))

    def call(self, seconds: float) -> None:
        """Handlers run when it is over."""
        self._pass(self.now + seconds, self.now + seconds)

    def _pass(self, until: float, handled_at: float) -> None:
        if self._again_at <= until:
            self.now, self._again_at = handled_at, float("inf")
            signal.raise_signal(signal.SIGTERM)
        self.now = until


@pytest.mark.parametrize(("again_at", "ends"), [(TOGETHER_S / 10, []), (TOGETHER_S + 0.01, [143])])
def test_signals_that_come_together_are_one_however_long_the_main_thread_is_in_a_call(
    monkeypatch: pytest.MonkeyPatch, again_at: float, ends: list[int]
) -> None:
    clock, ended = Blocked(again_at), list[int]()
    monkeypatch.setattr(stopping, "time", clock)
    monkeypatch.setattr(stopping, "os", SimpleNamespace(_exit=ended.append))
    with Stopping(lambda: None, 10.0):
        signal.raise_signal(signal.SIGTERM)
        clock.call(1.0)
    assert ended == ends
