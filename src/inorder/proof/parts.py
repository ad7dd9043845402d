"""What a simulated system is made of."""

from __future__ import annotations

import msgspec

from inorder.core.guard import Guard
from inorder.core.lanes import Lanes
from inorder.core.planner import Planner
from inorder.core.replaying import Replaying
from inorder.proof.memory import MemoryStore
from inorder.proof.recorder import LedgeredFold
from inorder.worker.batch import Batches
from inorder.worker.worker import Loop


class Parts(msgspec.Struct, frozen=True):
    """What a simulated system is made of: inorder's own parts, or, for a negative control, broken ones."""

    guard: type[Guard] = Guard
    planner: type[Planner] = Planner
    batches: type[Batches] = Batches
    loop: type[Loop] = Loop
    lanes: type[Lanes] = Lanes
    store: type[MemoryStore] = MemoryStore
    rules: type[Replaying] = Replaying
    effect: type[LedgeredFold] = LedgeredFold
    paced: bool = True
    """Whether replays keep to the rate of the course."""


INTACT = Parts()
