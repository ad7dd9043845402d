"""`inorder demo` as a user starts it, with a folder of its own for what it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple


class Said(NamedTuple):
    """What the command came to."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Its standard output, which is one document."""
        found: dict[str, Any] = json.loads(self.out)
        return found


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start it; whatever it writes is below `folder`."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "inorder.cli", "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder), "COLUMNS": "80"},
        start_new_session=True,
    )


def demo(folder: Path, *arguments: str) -> Said:
    """Run it to its end."""
    process = start(folder, *arguments)
    out, err = process.communicate(timeout=110)
    return Said(process.returncode, out, err)
