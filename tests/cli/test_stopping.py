"""What signals do to a command, and to a process that is ending because of one."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from inorder.cli.stopping import Stopping


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
    with Stopping(lambda: stops.append("stop"), 10.0) as stopping:
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    assert (stops, stopping.received) == (["stop"], signal.SIGTERM)
