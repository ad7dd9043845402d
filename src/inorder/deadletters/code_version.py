"""Which code gave up on an event, or replays it: told by the environment, or by the handler's own source."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from zlib import crc32

from inorder.declaration import Declaration

VARIABLE = "INORDER_CODE_VERSION"


def code_version(declared: Declaration) -> str | None:
    """The value of `INORDER_CODE_VERSION`, or a fingerprint of the file that the handler is in."""
    named = os.environ.get(VARIABLE)
    if named:
        return named
    try:
        path = inspect.getsourcefile(inspect.unwrap(declared.function))
        return f"{Path(path).name} {crc32(Path(path).read_bytes()):08x}" if path else None
    except (OSError, TypeError):
        return None
