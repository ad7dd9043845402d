"""The URLs of SQS: `sqs://QUEUE.fifo?region=…`, with `endpoint=` for an emulator.

It never opens anything. Credentials are never part of a URL: they come from where boto3 looks for them.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from inorder.errors import UsageError

FORM = "sqs://QUEUE.fifo?region=REGION"

MOST_VISIBILITY_S = 43_200
MOST_WAIT_S = 20
MOST_THREADS = 64
MOST_IN_BATCH = 10
"""Entries of one request, and messages of one receive: SQS's own limit."""

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,75}(\.fifo)?")
_COUNTS = {
    "visibility_s": (1, MOST_VISIBILITY_S),
    "wait_s": (0, MOST_WAIT_S),
    "receivers": (1, MOST_THREADS),
    "in_flight": (10, 120_000),
}
_TEXTS = ("region", "endpoint", "account")


class Location(NamedTuple):
    """What an SQS URL names. What it leaves out is None."""

    queue: str
    region: str | None = None
    endpoint: str | None = None
    account: str | None = None
    """The AWS account that the queue belongs to, if that is not ours."""
    visibility_s: int | None = None
    """How long a received message is ours before it must be extended; by default what the queue says."""
    wait_s: int | None = None
    """How long one request waits for a first message, and a worker that stops for the last one."""
    receivers: int | None = None
    """Requests for messages under way at once, while there are any."""
    in_flight: int | None = None
    """Messages received and not deleted, at most, by one worker process."""

    @property
    def where(self) -> str:
        """The service and the queue, for messages."""
        return f"SQS at {self.endpoint or self.region or 'its default region'}, queue {self.queue}"


def parse(url: str, *, fifo: bool = True) -> Location:
    """The parts of `url`. With `fifo`, a queue that keeps no order is refused."""
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise UsageError(f"not an SQS URL ({error}): write {FORM}") from None
    if parts.scheme != "sqs" or not parts.netloc or parts.path.strip("/"):
        raise UsageError(f"not an SQS URL: write {FORM}")
    if "@" in parts.netloc:
        raise UsageError("an SQS URL takes no credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret")
    queue = parts.netloc
    if not _NAME.fullmatch(queue):
        raise UsageError(f"{queue!r} cannot be the name of a queue: write {FORM}")
    if fifo and not queue.endswith(".fifo"):
        raise UsageError(f"queue {queue} keeps no order: name a FIFO queue, {FORM}")
    texts: dict[str, str] = {}
    counts: dict[str, int] = {}
    for name, value in pairs:
        if name in texts or name in counts:
            raise UsageError(f"the SQS URL gives {name} twice")
        if name in _COUNTS:
            counts[name] = _count(name, value)
        elif name in _TEXTS:
            texts[name] = _text(name, value)
        else:
            known = ", ".join((*_TEXTS, *_COUNTS))
            raise UsageError(f"the SQS URL has the unknown option {name!r}: it takes {known}")
    return Location(queue, **texts, **counts)  # type: ignore[arg-type]


def _count(name: str, text: str) -> int:
    least, most = _COUNTS[name]
    if text.isascii() and text.isdigit() and least <= int(text) <= most:
        return int(text)
    raise UsageError(f"{name}={text} in the SQS URL: write a whole number from {least} to {most}")


def _text(name: str, text: str) -> str:
    if not text or (name == "endpoint" and urlsplit(text).scheme not in {"http", "https"}):
        example = {"endpoint": "http://127.0.0.1:9324", "region": "eu-central-1"}.get(name, "123456789012")
        raise UsageError(f"{name}={text} in the SQS URL: write such as {name}={example}")
    return text
