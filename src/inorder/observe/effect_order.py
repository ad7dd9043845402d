"""Judges effects after their commit: did each entity's take place in the order its consumer declared?

It looks at what was done, never at why: it knows nothing of guard, planner or lanes, and shares no code with them.
"""

from __future__ import annotations

from collections.abc import Iterator

from inorder.core.order import Order
from inorder.core.rows import Effects

GAP, REPEAT, BACKWARD = "gap", "repeat", "backward"


def violations(order: Order, effects: Effects) -> Iterator[str]:
    """What is wrong with the effects of one transaction on one entity: a word for each.

    strict and unguarded: the versions go on from the last one, each in its turn. latest: they rise. commutative: none
    takes effect twice, as far as one transaction and the unbroken run before it can tell.
    """
    before, versions = effects.before, effects.versions
    if order in {Order.STRICT, Order.UNGUARDED}:
        if versions != list(range(before + 1, before + 1 + len(versions))):
            yield from _out_of_turn(before, versions, gaps=True)
    elif order is Order.LATEST:
        yield from _out_of_turn(before, versions, gaps=False)
    else:
        seen: set[int] = set()
        for version in versions:
            if version <= before or version in seen:
                yield REPEAT
            seen.add(version)


def _out_of_turn(before: int, versions: list[int], gaps: bool) -> Iterator[str]:
    last = before
    for version in versions:
        if version == last:
            yield REPEAT
        elif version < last:
            yield BACKWARD
        elif gaps and version > last + 1:
            yield GAP
        last = version
