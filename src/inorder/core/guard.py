"""The guard: may this version of this entity take effect now?

    order        version is                         decision
    ------------------------------------------------------------------------------
    strict       last + 1                           APPLY
                 beyond last + 1                    HOLD       until the gap fills
    latest       beyond last                        APPLY
    commutative  not applied yet                    APPLY      in any order
    unguarded    anything                           APPLY      the naive consumer
    ------------------------------------------------------------------------------
    otherwise, in every order, the version is one the state already covers:
                 at or below the baseline           STALE
                 skipped by an operator             LATE       needed after all: alarm
                 applied, by this event id          DUPLICATE
                 applied, by another event id       CONFLICT
                 older than `latest` needs          STALE
                 applied, id no longer remembered   DUPLICATE

`last` is the highest version that took effect; under `commutative` it is the end of the unbroken run from the
start, and what took effect beyond it is kept as ranges. Versions are never forgotten. Event ids are: the last
`remembered` of each entity are kept, as 32-bit fingerprints, so a conflict is told from a duplicate that far back.
Nor does `latest` know which older versions it applied, so it calls a conflict only on the last one.

A version that an operator skipped under `latest` is LATE until a newer one has taken effect, and STALE from then on: a
newer snapshot has made it superfluous, as it would have without the skip, and nothing calls for an alarm.

Skipped versions are kept as ranges too, but for `commutative`, which tells them from applied ones that far back.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from mypy_extensions import mypyc_attr

from inorder.core.entity import Entity
from inorder.core.event import Event
from inorder.core.order import Order

REMEMBERED_IDS = 32
"""Event ids kept for each entity, 4 bytes each. Redeliveries come soon after the first delivery or not at all."""

_SKIPPED = 0
"""In place of a fingerprint, which is never 0: an operator skipped the version."""


class Decision(Enum):
    """What the guard says of one event."""

    APPLY = "apply"
    HOLD = "hold"
    DUPLICATE = "duplicate"
    STALE = "stale"
    CONFLICT = "conflict"
    LATE = "late"


# A member that is looked up in its enum takes longer than the decision itself, before Python 3.12.
APPLY: Final = Decision.APPLY
HOLD: Final = Decision.HOLD
DUPLICATE: Final = Decision.DUPLICATE
STALE: Final = Decision.STALE
CONFLICT: Final = Decision.CONFLICT
LATE: Final = Decision.LATE
_STRICT: Final = Order.STRICT
_LATEST: Final = Order.LATEST
_COMMUTATIVE: Final = Order.COMMUTATIVE


@mypyc_attr(allow_interpreted_subclasses=True)
class Guard:
    """The decision for one stream: its order, and the version up to which its entities start out complete."""

    __slots__ = ("baseline", "order", "remembered")

    def __init__(self, order: Order, baseline: int = 0, remembered: int = REMEMBERED_IDS) -> None:
        self.order = order
        self.baseline = baseline
        self.remembered = remembered

    def decide(self, entity: Entity, event: Event) -> Decision:
        """What may be done with `event` now, given what `entity` has seen. Changes nothing."""
        version, order = event.version, self.order
        if order is _STRICT:
            if version == entity.version + 1:
                return APPLY
            if version > entity.version:
                return HOLD
        elif order is _LATEST:
            if version > entity.version:
                return LATE if entity.ranges.starts and version in entity.ranges else APPLY
        elif order is _COMMUTATIVE:
            if version > entity.version and version not in entity.ranges:
                return APPLY
        else:
            return APPLY
        return self._already_covered(entity, event)

    def _already_covered(self, entity: Entity, event: Event) -> Decision:
        version, order = event.version, self.order
        if version <= self.baseline:
            return STALE
        later = max(0, entity.version - version)
        if order is _LATEST:
            if event.fingerprint in entity.recent:
                return DUPLICATE
            if later:
                return STALE
        elif order is _COMMUTATIVE:
            later += entity.ranges.count_above(version)
        elif version in entity.ranges:
            return LATE
        if later >= len(entity.recent):
            return DUPLICATE
        known = entity.recent[-1 - later]
        if known == _SKIPPED:
            return LATE
        return DUPLICATE if known == event.fingerprint else CONFLICT

    def advance(self, entity: Entity, version: int, fingerprint: int) -> None:
        """Note that `version` took effect. Only for a version that `decide` said APPLY of."""
        order = self.order
        if order is _COMMUTATIVE:
            later = entity.ranges.count_above(version)
            if later == 0:
                entity.recent.append(fingerprint)
            elif later <= len(entity.recent):
                entity.recent.insert(len(entity.recent) - later, fingerprint)
            if version == entity.version + 1:
                entity.version = entity.ranges.take_from(version + 1)
            else:
                entity.ranges.add(version)
        else:
            entity.recent.append(fingerprint)
            entity.version = max(entity.version, version)

    def skip(self, entity: Entity, version: int) -> None:
        """Note that an operator declared `version` as never to come. Only for one that `decide` said APPLY of.

        Under `latest` this covers nothing else: versions before it are as welcome as they were.
        """
        if self.order is not _LATEST:
            self.advance(entity, version, _SKIPPED)
        if self.order is not _COMMUTATIVE:
            entity.ranges.add(version)
