"""inorder: each entity's events take effect in order, exactly once, however they arrive.

Everything public is here; the rooms below are not. Nothing of a broker or a database is imported until a URL names it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inorder.context import Context
from inorder.core.limits import Limits
from inorder.core.retry import Retry
from inorder.declaration import POSITION, fold, handler
from inorder.errors import (
    Fenced,
    HandlerExit,
    HandlerTimeout,
    InorderError,
    Mismatch,
    Poison,
    Unavailable,
    Undelivered,
    Unreachable,
    UsageError,
)

if TYPE_CHECKING:
    from inorder.ports import Transaction
    from inorder.producing.delivery import Delivery
    from inorder.producing.outbox import Outbox
    from inorder.producing.producer import Producer
    from inorder.worker.effects import AsyncTransaction
    from inorder.worker.run import Worker, run
    from inorder.worker.settings import Report

__version__ = "0.1.0"

__all__ = [
    "POSITION",
    "AsyncTransaction",
    "Context",
    "Delivery",
    "Fenced",
    "HandlerExit",
    "HandlerTimeout",
    "InorderError",
    "Limits",
    "Mismatch",
    "Outbox",
    "Poison",
    "Producer",
    "Report",
    "Retry",
    "Transaction",
    "Unavailable",
    "Undelivered",
    "Unreachable",
    "UsageError",
    "Worker",
    "__version__",
    "fold",
    "handler",
    "run",
]

_LATER = {
    "AsyncTransaction": "inorder.worker.effects",
    "Delivery": "inorder.producing.delivery",
    "Outbox": "inorder.producing.outbox",
    "Producer": "inorder.producing.producer",
    "Report": "inorder.worker.settings",
    "Transaction": "inorder.ports",
    "Worker": "inorder.worker.run",
    "run": "inorder.worker.run",
}


def __getattr__(name: str) -> Any:
    # What is needed to declare a consumer is imported with the package, what runs one is imported when it is used.
    if name in _LATER:
        from importlib import import_module

        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'inorder' has no attribute {name!r}")
