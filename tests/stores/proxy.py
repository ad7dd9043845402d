"""A wire between a store and its server that a test can cut at a chosen moment."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

Watch = Callable[[bytes], bool]


class Wire:
    """Forwards connections. When `watch` says so of what the client sends, that connection is cut.

    `deliver` says whether the server still gets the piece that was watched for; `linger` keeps its end open, as a
    lost network does.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = urlunsplit(parts._replace(netloc=f"{parts.username}@127.0.0.1:{port}"))
        self.watch: Watch | None = None
        self.deliver = False
        self.linger = False
        self.on_cut: Callable[[], None] = lambda: None
        self.cuts = 0
        self.was_cut = threading.Event()
        self._mute: set[socket.socket] = set()
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in (self._listener, *self._open):
            each.close()

    def cut_at(self, piece: bytes, *, deliver: bool, linger: bool = False) -> None:
        """Cut the connection that sends `piece` next, once."""
        self.deliver, self.linger = deliver, linger
        self.watch = lambda sent: piece in sent

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(self._server)
                except OSError:
                    client.close()
                    continue
                self._open += [client, server]
                for ends in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pump, args=ends, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, from_client: bool) -> None:
        with suppress(OSError):
            while sent := source.recv(65_536):
                if from_client and self.watch is not None and self.watch(sent):
                    self.watch = None
                    self._cut(source, target, sent)
                    return
                if source not in self._mute:
                    target.sendall(sent)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _cut(self, client: socket.socket, server: socket.socket, sent: bytes) -> None:
        self.cuts += 1
        self._mute.add(server)
        if self.deliver:
            server.sendall(sent)
            time.sleep(0.2)
        self.on_cut()
        self.was_cut.set()
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
        if not self.linger:
            with suppress(OSError):
                server.shutdown(socket.SHUT_WR)
