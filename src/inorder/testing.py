"""For the tests of those who use inorder: prove a consumer, replay a schedule, and put streams out of order.

In a test, or through the pytest fixtures `prove` and `disordered` that come with the package:

    def test_balance(prove):
        prove(balance)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

if TYPE_CHECKING:
    import sqlite3

    from hypothesis.strategies import SearchStrategy

    from inorder.proof.proving import Proof

__all__ = ["Disproved", "NotKnown", "disordered", "disorders", "prove", "replay"]

Event = TypeVar("Event")

DRAWN = 60
"""Payloads drawn from a strategy for one proof."""


class Disproved(AssertionError):
    """A consumer does not keep its promise. The message has the schedule, and why."""


class NotKnown(AssertionError):
    """A proof came to no verdict: that is not a pass."""


def prove(
    consumer: Callable[..., Any],
    *,
    events: Iterable[bytes | Mapping[str, Any] | msgspec.Struct] | None = None,
    payloads: SearchStrategy[Any] | None = None,
    seconds: float = 20.0,
    setup: Callable[[sqlite3.Connection], object] | None = None,
) -> Proof:
    """Prove a decorated fold, or handler with `tx`, within `seconds`.

    Payloads are made from the declared type; from `events` of your own (JSON, mappings or structs, with their keys
    and versions); or from a hypothesis strategy, `payloads`, of what an event carries (key, version and id are set).
    `setup` makes the tables of a handler with `tx`. Raises `Disproved` with the smallest schedule that breaks it,
    `NotKnown` when there is no verdict, and `inorder.UsageError` when it cannot be tried.
    """
    from inorder.proof.proving import prove_declared
    from inorder.proof.report import lines

    given = None if events is None else [_json(event) for event in events]
    drawn = None if payloads is None else _drawn(payloads)
    proof = prove_declared(consumer, given, seconds, setup, drawn)
    if proof.verdict != "proved":
        raise (Disproved if proof.anomaly else NotKnown)("\n" + "\n".join(lines(proof)))
    return proof


def replay(
    consumer: Callable[..., Any], token: str, *, setup: Callable[[sqlite3.Connection], object] | None = None
) -> None:
    """Play the schedule of a token that a proof has printed. Raises `Disproved` when it still shows an anomaly."""
    from inorder.proof.proving import replayed
    from inorder.proof.report import replay_lines

    found = replayed(consumer, token, setup)
    if found.finding is not None:
        raise Disproved("\n" + "\n".join(replay_lines(found)))


def disordered(
    events: Iterable[Event], seed: int = 0, duplicates: float = 0.1, reach: int | None = None
) -> list[Event]:
    """These events out of order, some of them twice: the same for the same seed.

    An event moves by up to `reach` places (by default: anywhere); so large a part as `duplicates` comes twice.
    """
    rng, given = random.Random(seed), list(events)
    given += [event for event in given if rng.random() < duplicates]
    far = len(given) if reach is None else reach
    places = [(place + rng.uniform(0, far + 1), rng.random()) for place in range(len(given))]
    return [given[at] for at in sorted(range(len(given)), key=places.__getitem__)]


def disorders(events: Sequence[Event], max_duplicates: int = 3) -> SearchStrategy[list[Event]]:
    """A hypothesis strategy: these events in any order, up to so many of them twice. It shrinks towards their order."""
    from hypothesis import strategies as st

    again = st.lists(st.sampled_from(list(events)), max_size=max_duplicates) if events else st.just([])
    return again.flatmap(lambda more: st.permutations([*events, *more])).map(list)


def _json(event: Any) -> bytes:
    return event if isinstance(event, bytes) else msgspec.json.encode(event)


def _drawn(payloads: SearchStrategy[Any]) -> list[dict[str, Any]]:
    from hypothesis import HealthCheck, Phase, given, settings

    found: list[dict[str, Any]] = []

    @settings(
        max_examples=DRAWN,
        database=None,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(payloads)
    def draw(payload: Any) -> None:
        found.append(msgspec.json.decode(_json(payload), type=dict[str, Any]))

    draw()
    return found
