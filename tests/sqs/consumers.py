"""The example of the balances, slow enough to be caught at work, and refused some entries."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import inorder

sys.path.insert(0, str(Path(__file__).parents[2]))

from examples.balance import Balance, Entry, balance

__all__ = ["Balance", "Entry", "balance", "slow_balance"]

REFUSED = ("a03", 9)
"""An entry that never passes: its account is parked there."""
FAILS_ONCE = "a05"
"""An account whose every seventh entry fails the first time in each process."""
FREEZE = Path("freeze")
"""Has the number of the process that is to stop, where it has nothing locked."""

_failed: set[tuple[str, int]] = set()


@inorder.fold(
    key="account",
    version="version",
    id="id",
    name="balance",
    limits=inorder.Limits(poll_events=20),
    retry=inorder.Retry(attempts=5, delay_s=0.05),
)
def slow_balance(state: Balance | None, entry: Entry) -> Balance:
    if FREEZE.exists() and FREEZE.read_text() == str(os.getpid()):
        FREEZE.unlink()
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
    time.sleep(0.003)
    at = (entry.account, entry.version)
    if at == REFUSED:
        raise inorder.Poison("refused")
    if entry.account == FAILS_ONCE and entry.version % 7 == 0 and at not in _failed:
        _failed.add(at)
        raise RuntimeError("once")
    return balance(state, entry)
