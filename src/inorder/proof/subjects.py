"""The consumers that simulations drive: one for each order, whose state is the list of what took effect.

Nothing cancels out in such a state, so that whatever went wrong can be seen in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import msgspec

import inorder
from inorder.core.order import Order
from inorder.core.retry import Retry
from inorder.declaration import Declaration, declaration_of
from inorder.proof.course import RIVAL
from inorder.proof.system import Message

Effects = list[tuple[int, str]]
AT_ONCE = 100
"""The most events of a batch: large worlds are to have many transactions."""


class Fact(msgspec.Struct, frozen=True):
    """An event that has nothing in it but its name."""

    key: str
    version: int
    id: str


def fact(key: str, version: int, what: str = "") -> Message:
    """A record that carries an event, or one that claims the same version."""
    name = f"{key}-{version}-rival" if what == RIVAL else f"{key}-{version}"
    return Message(key, version, name, b'{"key":"%b","version":%d,"id":"%b"}' % (key.encode(), version, name.encode()))


@cache
def subject(order: Order, parks: bool = True) -> Declaration:
    """The consumer of an order."""

    def effects(state: Effects | None, fact: Fact) -> Effects:
        return kept(order, [*(state or ()), (fact.version, fact.id)])

    effects.__annotations__ = {"state": Effects | None, "fact": Fact, "return": Effects}
    retry = Retry(attempts=3, delay_s=1.0)
    declared = inorder.fold(key="key", version="version", id="id", order=order.value, park=parks, retry=retry)(effects)
    made = declaration_of(declared)
    return msgspec.structs.replace(made, limits=msgspec.structs.replace(made.limits, poll_events=AT_ONCE))


def kept(order: Order, effects: Effects) -> Effects:
    """What is left of these effects: all; of snapshots the last; of what commutes, all in one sequence."""
    if order is Order.LATEST:
        return effects[-1:]
    return sorted(effects) if order is Order.COMMUTATIVE else effects


class SubjectOracle:
    """What the state of a key is to be after these effects."""

    def __init__(self, order: Order) -> None:
        self._order = order

    def state_after(self, key: str, effects: Sequence[tuple[int, str]]) -> str | None:
        """As JSON; None where there is none."""
        return msgspec.json.encode(kept(self._order, list(effects))).decode() if effects else None
