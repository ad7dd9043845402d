"""The command, as the tests of the command use it."""

from tests.cli.conftest import inorder, start

__all__ = ["inorder", "start"]
