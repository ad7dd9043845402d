"""The URLs of the embedded broker: `embedded:///absolute/path.db/TOPIC` and `embedded://relative/path.db/TOPIC`.

What stands behind `embedded://` is the path as it is. A store's URL is written as SQLAlchemy writes it, with one slash
more: `sqlite:///relative.db` and `sqlite:////absolute.db`. This never opens anything.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from inorder.errors import UsageError

_FORM = "embedded://path.db/TOPIC"


class Location(NamedTuple):
    """What an embedded URL names."""

    path: Path
    topic: str
    options: dict[str, str]


def parse(url: str, known: Collection[str]) -> Location:
    """The parts of `url`; only the query keys in `known` are allowed."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UsageError(f"{url!r} is no URL ({error}): write {_FORM}") from error
    path, _, topic = (parts.netloc + parts.path).rpartition("/")
    if parts.scheme != "embedded" or not path.strip("/") or not topic:
        raise UsageError(f"{url!r} names no embedded topic: write {_FORM}")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(options.keys() - set(known)):
        raise UsageError(f"{url!r} has the unknown option {unknown[0]!r}: it takes {', '.join(sorted(known))}")
    return Location(Path(unquote(path)), unquote(topic), options)


def seconds(options: dict[str, str], name: str, default: float) -> float:
    """A positive number of seconds."""
    try:
        value = float(options.get(name, default))
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UsageError(f"{name}={options[name]} is no time: write a number of seconds, such as {name}={default:g}")
    return value


def count(options: dict[str, str], name: str) -> int | None:
    """A positive whole number, or None if it is not there."""
    if name not in options:
        return None
    text = options[name]
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise UsageError(f"{name}={text} is no count: write a whole number, such as {name}=4")
    return int(text)
