"""The command's fixtures, over a real broker."""

from tests.cli.conftest import inorder, start

__all__ = ["inorder", "start"]
