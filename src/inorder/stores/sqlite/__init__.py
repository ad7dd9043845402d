"""The embedded store: one SQLite file, which the user's own tables may share."""

from inorder.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
