"""When to try a failed event again, and when to give up on it."""

from __future__ import annotations

from enum import StrEnum
from zlib import crc32

import msgspec


class ErrorClass(StrEnum):
    """What a failure says about trying again."""

    TRANSIENT = "transient"
    """May pass: try again, and give up after a few attempts."""
    POISON = "poison"
    """Will never pass: give up at once."""
    INFRASTRUCTURE = "infrastructure"
    """Nothing is wrong with the event: pause everything until it passes, and give up on nothing."""


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """Exponential backoff. `attempts` counts the first one; delays are seconds."""

    attempts: int = 4
    delay_s: float = 0.1
    factor: float = 4.0
    max_delay_s: float = 30.0

    def __post_init__(self) -> None:
        # Asked like this, it refuses what is no number too: a retry would be due never.
        if not (self.attempts >= 1 and self.delay_s >= 0 and self.factor >= 1 and self.max_delay_s >= 0):
            raise ValueError("Retry needs attempts >= 1, delay_s >= 0, factor >= 1 and max_delay_s >= 0")

    def delay(self, attempt: int, key: str) -> float:
        """Seconds to wait after failed attempt number `attempt` (from 1).

        Up to a quarter is added, by key, so that keys that failed together do not all come back together.
        """
        spread = 1 + (crc32(key.encode("utf-8", "surrogatepass")) % 1024) / 4096
        try:
            delay_s = self.delay_s * float(self.factor) ** (attempt - 1)
        except OverflowError:
            delay_s = self.max_delay_s if self.delay_s else 0.0
        return min(delay_s, self.max_delay_s) * spread
