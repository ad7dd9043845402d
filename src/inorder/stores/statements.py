"""Reads SQL out of the .sql files beside the code. Never builds a statement out of values."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_HEADING = re.compile(r"^-- (\w+): .+$", re.MULTILINE)


@cache
def statements(package: str, name: str) -> dict[str, str]:
    """The statements of one file of a package. Each stands under a line `-- name: why it is there`."""
    text = files(package).joinpath(name).read_text(encoding="utf-8")
    parts = _HEADING.split(text)[1:]
    return {heading: body.strip().rstrip(";") for heading, body in zip(parts[::2], parts[1::2], strict=True)}


@cache
def migrations(package: str) -> tuple[str, ...]:
    """The scripts of a package's `migrations` folder. The first one makes schema version 1."""
    folder = files(package).joinpath("migrations")
    scripts = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda e: e.name)
    return tuple(script.read_text(encoding="utf-8") for script in scripts)
