"""One record that was given to a producer, and whether the broker keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable, Mapping
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from inorder.core.event import MAX_VERSION
from inorder.errors import UsageError
from inorder.producing.channel import Headers, Place, Problem

VERSION_HEADER = "inorder-version"
ID_HEADER = "inorder-id"
FIXED_BYTES = 100
"""What a record takes on the wire beside its key and value, roughly."""

More = Mapping[str, bytes] | None

_encode = msgspec.json.Encoder().encode


class Owner(Protocol):
    """What a delivery asks of its producer."""

    def await_fate(self, delivery: Delivery, timeout_s: float | None) -> Place: ...
    def watch(self, delivery: Delivery, waiter: Waiter) -> bool: ...
    def fate(self, delivery: Delivery) -> Place: ...
    def problem_of(self, delivery: Delivery) -> Problem | None: ...


class Waiter:
    """An `await` in some event loop."""

    __slots__ = ("future", "loop")

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()


class Delivery:
    """A record on its way. `result()` and `await` give its place, or raise `Undelivered`.

    A record that was not delivered keeps its place in the line of its key. After `Producer.resend` the same delivery
    can be waited for again.
    """

    __slots__ = ("_owner", "headers", "id", "key", "number", "place", "since", "size", "value", "version")

    def __init__(
        self, owner: Owner, key: bytes, value: bytes, version: int | None, id: str | None, headers: Headers
    ) -> None:
        self._owner = owner
        self.key = key
        self.value = value
        self.version = version
        self.id = id
        self.headers = headers
        self.size = len(key) + len(value) + FIXED_BYTES
        self.number = 0
        self.since = 0.0
        self.place: Place | None = None
        """Partition and offset, once the broker keeps it. A record acknowledged on a retry may have offset -1."""

    def __repr__(self) -> str:
        version = "" if self.version is None else f" version {self.version}"
        name = "" if self.id is None else f" id {self.id}"
        return f"<{self.key.decode(errors='replace')}{version}{name}>"

    @property
    def done(self) -> bool:
        """Whether the broker keeps it."""
        return self.place is not None

    @property
    def problem(self) -> Problem | None:
        """Why its key is stopped; None when it is not."""
        return self._owner.problem_of(self)

    def result(self, timeout_s: float | None = None) -> Place:
        """Wait until the broker keeps it.

        Raises `Undelivered` when its key is stopped, or when nothing is known after `timeout_s`.
        """
        return self._owner.await_fate(self, timeout_s)

    def __await__(self) -> Generator[None, None, Place]:
        waiter = Waiter()
        if self._owner.watch(self, waiter):
            yield from waiter.future
        return self._owner.fate(self)


def wake(waiters: Iterable[Waiter]) -> None:
    """Let the loops of these go on with them: one message a loop, from whatever thread."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for waiter in waiters:
        by_loop.setdefault(waiter.loop, []).append(waiter.future)
    for loop, futures in by_loop.items():
        with suppress(RuntimeError):  # closed meanwhile: nobody waits there any more
            loop.call_soon_threadsafe(_finish, futures)


def _finish(futures: Iterable[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


def key_text(key: str | int) -> str:
    """A key as a text."""
    if not isinstance(key, str | int):
        raise UsageError(f"key={key!r} is neither a text nor a whole number")
    return _sendable("key", str(key))


def key_bytes(key: str | bytes | int) -> bytes:
    """A key as it is sent."""
    found = key if isinstance(key, bytes) else key_text(key).encode()
    if not found:
        raise UsageError("a record needs a key: what order is kept within")
    return found


def value_bytes(value: Any) -> bytes:
    """A value as it is sent: bytes as they are, anything else as JSON."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if value is None:
        raise UsageError("a record needs a value: bytes, or anything that msgspec encodes as JSON")
    try:
        return _encode(value)
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise UsageError(f"the value cannot be encoded as JSON: {error}") from None


def id_text(id: str) -> str:
    """An event id that can be sent."""
    if type(id) is not str or not id:
        raise UsageError(f"id={id!r} is not a text of one character or more")
    return _sendable("id", id)


def headers_of(version: int | None, id: str | None, given: More) -> Headers:
    """The headers as they are sent."""
    found = list(given.items()) if given else []
    for name, content in found:
        if type(name) is not str or not name or "\0" in name:
            raise UsageError(f"the name of a header is a text without the character NUL, not {name!r}")
        if type(content) is not bytes:
            raise UsageError(f"the values of headers are bytes, and {name} has {type(content).__name__}")
        _sendable("the name of a header", name)
    if version is not None:
        if type(version) is not int or not 0 < version <= MAX_VERSION:
            raise UsageError(f"version={version!r} is no whole number from 1 to 2^63-1")
        found.append((VERSION_HEADER, b"%d" % version))
    if id is not None:
        found.append((ID_HEADER, id_text(id).encode()))
    return tuple(found)


def _sendable(what: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{what}={text!r} is no text that can be sent: a part of it is no character") from None
    return text
