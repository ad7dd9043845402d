"""Connections to one database, lent to one thread at a time. Never ends a transaction.

A pool that reconnects on its own would hide what the worker has to know: that the store is away, and since when.
"""

from __future__ import annotations

import re
import secrets
import select
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import psycopg
from psycopg import sql
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.generators import send
from psycopg.pq import Format, TransactionStatus
from psycopg.rows import tuple_row

from inorder.errors import Unreachable, UsageError
from inorder.stores.postgres.arrays import register
from inorder.stores.postgres.cursors import FROM_WITHIN, Answer, Cursors
from inorder.stores.postgres.weather import CONNECT_S, LOCK_S, first_line, theirs

LOST_NETWORK = {
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""How soon a server that vanished without a word is noticed. The URL may say otherwise."""
_SETTINGS = "SET lock_timeout = {}; SET default_transaction_isolation = 'read committed'"
"""Whoever has waited for a lock must see what was done under it, whatever the server's own isolation is."""
TOGETHER = 16
"""Statements of a pipeline that are sent at a time. More of them would keep the server waiting for its first."""
LONGEST_NAME = 63
_NAME = re.compile(r"[^\W\d]\w*")


class Address(NamedTuple):
    """Where a store is. `name` is for messages, and has no password in it."""

    conninfo: str
    schema: str
    name: str


def address(url: str) -> Address:
    """Reads `postgresql://user@host:port/database?schema=inorder`; other query keys are libpq's."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    schemas = [value for key, value in query if key == "schema"] or ["inorder"]
    schema = schemas[-1]
    if not _NAME.fullmatch(schema) or len(schema.encode()) > LONGEST_NAME or schema.startswith("pg_"):
        raise UsageError(f"schema={schema!r} is no name for a schema: write letters, digits and _, and no pg_ in front")
    # libpq takes a + for what it is: a space has to be %20.
    rest = urlencode([pair for pair in query if pair[0] != "schema"], quote_via=quote)
    try:
        # Not by `urlunsplit`, which leaves out the // of a server that is not named: one on this machine.
        given = conninfo_to_dict(f"postgresql://{parts.netloc}{parts.path}?{rest}")
    except (psycopg.ProgrammingError, UnicodeDecodeError) as error:
        raise UsageError(f"the store's URL is not understood: {first_line(error)}") from None
    place = f"{given.get('host') or 'localhost'}:{given.get('port') or 5432}/{given.get('dbname') or ''}"
    defaults: dict[str, Any] = {"connect_timeout": CONNECT_S, **LOST_NETWORK}
    # Whatever the database's own is: arrays are packed in it.
    encoding = {"client_encoding": "utf8"}
    return Address(make_conninfo("", **(defaults | given | encoding)), schema, f"postgresql://{place}")


class Several(psycopg.Pipeline):
    """A pipeline that sends several statements at a time, and what is left when somebody wants an answer.

    psycopg's own sends each by itself, which takes four system calls and wakes the server.
    """

    _unsent = 0

    def _communicate_gen(self) -> PQGen[None]:
        commands = self.command_queue
        self._unsent += len(commands)
        while commands:
            command = commands.popleft()
            try:
                command()
            except BaseException:
                # It is not sent, and must not keep a place in the line for answers: others would get the wrong ones.
                del self.result_queue[-1 - len(commands)]
                raise
        if self._unsent >= TOGETHER:
            yield from self._send()

    def _fetch_gen(self, *, flush: bool) -> PQGen[None]:
        if self._unsent or self.command_queue:
            yield from self._send()
        yield from super()._fetch_gen(flush=flush)

    def _enqueue_sync(self) -> None:
        super()._enqueue_sync()
        # To be sent before answers are fetched, as psycopg does it: an error met while sending would else keep it from
        # fetching the rest, and a pipeline cannot be left before its last answer is in.
        self._unsent = TOGETHER

    def _send(self) -> PQGen[None]:
        self._unsent = 0
        # All of it: psycopg's own sends what there is room for, and may wait for the answer to what was not sent.
        yield from send(self.pgconn)
        yield from super()._communicate_gen()


class Link(psycopg.Connection[Any]):
    """One connection. Lent to a handler, it does not commit or roll back."""

    lent = False
    session = 0
    """A number that no other connection has: the server keeps how far it got under it."""
    batch = 0
    """How many transactions it has tried to commit."""
    cursors: Cursors
    """For a handler's statements."""

    @property
    def label(self) -> str:
        """By what the server's list of activities knows it."""
        return label(self.session)

    def run(self, statement: Any, parameters: Any = None, *, binary: bool = False) -> Answer:
        """A statement of inorder's. Its rows are tuples, whatever a handler makes of rows on this connection."""
        cursor = Answer(self, row_factory=tuple_row)
        cursor.format = Format.BINARY if binary else Format.TEXT
        return cursor.execute(statement, parameters)

    @contextmanager
    def pipeline(self) -> Iterator[psycopg.Pipeline]:
        """One in which several statements are sent at a time."""
        if self._pipeline is None:
            self._pipeline = Several(self)
        with super().pipeline() as pipeline:
            yield pipeline

    def turn(self, statement: str) -> None:
        """Begin or end a transaction, which `execute` does not while this is lent."""
        psycopg.Cursor(self).execute(statement)

    def commit(self) -> None:
        """Only between transactions of inorder's."""
        self._refuse()
        super().commit()

    def rollback(self) -> None:
        """Only between transactions of inorder's."""
        self._refuse()
        super().rollback()

    def close(self) -> None:
        """Only between transactions of inorder's: a handler's would look like a lost connection."""
        self._refuse()
        super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A handler's `with` ends nothing. What was raised inside it says more than that."""
        if not self.lent:
            super().__exit__(kind, error, trace)
        elif error is None:
            self._refuse()

    def _refuse(self) -> None:
        if self.lent:
            raise UsageError(FROM_WITHIN)


def label(session: int) -> str:
    """The application name of a session."""
    return f"inorder-{session:016x}"


class Connections:
    """As many connections as there are threads that use the store at the same time, opened when they are needed."""

    def __init__(self, at: Address) -> None:
        self.at = at
        self._idle: list[Link] = []
        self._busy: set[Link] = set()
        self._lock = Lock()
        self._closed = False

    def take(self) -> Link:
        """A connection to use. Give it back in the end. Raises `Unreachable`."""
        while True:
            with self._lock:
                if self._closed:
                    raise Unreachable(f"store {self.at.name}: closed")
                link = self._idle.pop() if self._idle else None
            if link is None:
                link = self.open()
            elif not _rests(link):
                link.close()
                continue
            with self._lock:
                self._busy.add(link)
            return link

    def give(self, link: Link) -> None:
        """The end of its use. One that was lost, or is not at rest, is closed."""
        with self._lock:
            self._busy.discard(link)
            if not self._closed and link.info.transaction_status is TransactionStatus.IDLE:
                self._idle.append(link)
                return
        link.close()

    def open(self) -> Link:
        """A new connection, that belongs to the caller."""
        session = secrets.randbits(63)
        try:
            link = Link.connect(self.at.conninfo, autocommit=True, application_name=label(session))
            link.cursor_factory, link.cursors = Answer, Cursors(link)
        except psycopg.OperationalError as error:
            raise Unreachable(f"store {self.at.name}: no connection ({first_line(error)})") from error
        except psycopg.ProgrammingError as error:
            raise UsageError(f"the store's URL is not understood: {first_line(error)}") from None
        with theirs(self.at.name):
            link.session = session
            link.execute(sql.SQL(_SETTINGS).format(f"{LOCK_S}s"))
            register(link)
        return link

    def end_sessions(self) -> None:
        """Have the server end what is in use, whatever the threads that use it are doing."""
        with self._lock:
            self._closed = True
            labels = [link.label for link in self._busy]
        if labels:
            with self.open() as link:
                end_sessions(link, labels)

    def close(self) -> None:
        """Close what is idle; what is in use is closed when it is given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for link in idle:
            link.close()


def end_sessions(link: Link, labels: list[str]) -> bool:
    """Have the server end these sessions, and wait until they are gone. Whether they are."""
    statement = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = ANY(%s)"
    return all(ended for (ended,) in link.run(statement, (labels,)).fetchall())


def _rests(link: Link) -> bool:
    """Whether a connection that nobody uses is still there: a server that is gone has said so, or hung up."""
    if link.closed:
        return False
    # Not by `select`, which cannot watch descriptors from 1024 on: handlers may have many open.
    watched = select.poll()
    watched.register(link.fileno(), select.POLLIN)
    return not watched.poll(0)
