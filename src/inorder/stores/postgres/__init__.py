"""The PostgreSQL store: a schema of its own beside the user's tables. Needs the extra `postgres`."""

from inorder.stores.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
