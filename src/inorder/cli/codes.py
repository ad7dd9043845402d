"""Every exit code of the command, declared once."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What the command's exit code says."""

    OK = 0
    FAILURE = 1
    """What was asked for could not be done: a broker that does not answer, input that cannot be used."""
    USAGE = 2
    """The command line, a URL or a declaration is wrong."""
    NOT_FOUND = 3
    """The store, stream, key or letter that was asked for is not there."""
    PARTIAL = 5
    """Some of what was asked for was done; the output says what was not."""
    FINDINGS = 6
    """A check found what it looks for."""
    INTERRUPTED = 130
    """Ended by Ctrl-C, after finishing what ran."""
