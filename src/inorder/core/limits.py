"""Every limit of a consumer, declared once. Each has a default and says what happens when it is reached."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one consumer. Times are seconds, sizes bytes."""

    event_bytes: int = 1_048_576
    """Largest event value. A larger one becomes a dead letter. Kafka's own default is 1,048,588 a message."""
    key_bytes: int = 1_024
    """Longest entity key, in UTF-8. A longer one becomes a dead letter."""
    handler_s: float = 30.0
    """Longest time a handler may take for one event. Past it, the attempt counts as failed."""
    gap_s: float = 300.0
    """Longest time events wait for a missing predecessor. Past it, the entity is parked, and nothing is skipped."""
    held_per_key: int = 10_000
    """Most events that wait for one entity. One more pauses its partition until there is room."""
    held: int = 1_000_000
    """Most events that wait in all, in the store. One more pauses its partition until there is room."""
    letters_per_key: int = 1_000
    """Most open dead letters of one entity. One more pauses its partition until there is room."""
    letters: int = 100_000
    """Most open dead letters in all. One more pauses its partition until there is room: with a handler that fails for
    everything, the stream stops before each of its entities is parked."""
    in_flight_events: int = 30_000
    """Most events received and not settled, in one worker process. At the limit the source is paused."""
    in_flight_bytes: int = 64 * 1_048_576
    """Most bytes received and not settled, in one worker process. At the limit the source is paused."""
    cache_bytes: int = 64 * 1_048_576
    """Room for entities kept in memory by one worker process. Past it, those not used lately are dropped."""
    drain_s: float = 20.0
    """Longest time given to running handlers when a worker stops or loses a partition."""
    poll_events: int = 10_000
    """Most events asked of the source at once. A transaction has so many, and at most as many again that waited for
    them."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            limit = getattr(self, name)
            if type(limit) not in (int, float):
                raise ValueError(f"Limits({name}={limit!r}) is no number")
            if not (limit > 0 or (limit == 0 and name in _MAY_BE_ZERO)):
                raise ValueError(f"Limits({name}={limit!r}) leaves no room: each limit is more than 0")
            if limit > _MOST.get(name, limit):
                raise ValueError(f"Limits({name}={limit!r}) is too much: write up to {_MOST[name]:,}")


_MAY_BE_ZERO = {"gap_s", "drain_s", "cache_bytes"}
_MOST = {"drain_s": 10**9, **dict.fromkeys(("held", "held_per_key", "letters", "letters_per_key"), 10**18)}
"""What is given to threads to wait for, and to a database to count to: they fail at more than they can take."""
