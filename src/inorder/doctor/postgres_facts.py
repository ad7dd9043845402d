"""Looks into a PostgreSQL store, in a transaction that only reads."""

from __future__ import annotations

import time

import psycopg

from inorder.doctor.facts import Store
from inorder.errors import Unreachable
from inorder.stores.postgres.connections import address
from inorder.stores.postgres.weather import first_line, ours
from inorder.stores.statements import statements


class PostgresFacts:
    """What `inorder doctor --store postgresql://…` learns from the server."""

    def __init__(self, url: str) -> None:
        self._at = address(url)
        self.name = self._at.name
        found = statements("inorder.doctor", "postgres.sql")
        self._sql = {name: text.replace("{schema}", f'"{self._at.schema}"') for name, text in found.items()}

    def gather(self, topic: str) -> Store:
        """Raises `Unreachable` when the server does not answer."""
        try:
            link = psycopg.connect(self._at.conninfo)
        except psycopg.OperationalError as error:
            raise Unreachable(f"store {self.name}: no connection ({first_line(error)})") from error
        with ours(self.name), link:
            link.read_only = True
            settings: dict[str, str] = dict(link.execute(self._sql["settings"]).fetchall())
            before = time.time()
            ((theirs,),) = link.execute(self._sql["clock"]).fetchall()
            after = time.time()
            ((made,),) = link.execute(self._sql["made"]).fetchall()
            oldest = link.execute(self._sql["oldest"]).fetchall()[0][0] if made else None
            return Store(
                name=self.name,
                durability=settings,
                orders=dict(link.execute(self._sql["orders"]).fetchall()) if made else {},
                partitions_seen=link.execute(self._sql["partitions_seen"], (topic,)).fetchall()[0][0] if made else 0,
                oldest_letter_s=None if oldest is None else time.time() - oldest,
                clock_ahead_s=0.0 if before <= theirs <= after else theirs - (before + after) / 2,
            )
