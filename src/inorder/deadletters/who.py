"""Who acts."""

from __future__ import annotations

import getpass
import os


def who() -> str:
    """`INORDER_ACTOR`, or the name of the user who runs this program."""
    try:
        return os.environ.get("INORDER_ACTOR") or getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
