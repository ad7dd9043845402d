"""The wires between one worker and all brokers of a cluster, which a test can cut without either side being told.

Whatever a broker says of where the brokers listen is replaced by where the wires do, so that the worker comes back.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.disorder.proxy import SIZE, cut, read_frame

HOST = "127.0.0.1"
PIECE_BYTES = 65_536


class Wires:
    """`with Wires(kafka.bootstrap) as wires:`; the worker's bootstrap is `wires.bootstrap`."""

    def __init__(self, brokers: str) -> None:
        self._ports = [int(broker.rpartition(":")[2]) for broker in brokers.split(",")]
        self._listeners = [socket.create_server((HOST, 0)) for _ in self._ports]
        ours = [listener.getsockname()[1] for listener in self._listeners]
        self.bootstrap = ",".join(f"{HOST}:{port}" for port in ours)
        self._names = [(_name(real), _name(port)) for real, port in zip(self._ports, ours, strict=True)]
        self._whole = threading.Event()
        self._whole.set()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()

    def __enter__(self) -> Self:
        for listener, port in zip(self._listeners, self._ports, strict=True):
            threading.Thread(target=self._accept, args=(listener, port), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for listener in self._listeners:
            listener.close()
        self.mend()

    def cut(self) -> None:
        """Nothing goes through from now on, and no connection ends: a network that is gone tells nobody."""
        self._whole.clear()

    def mend(self) -> None:
        """New connections work again; what was under way on the old ones is lost."""
        with self._lock:
            cut(*self._sockets)
            self._sockets.clear()
        self._whole.set()

    def _accept(self, listener: socket.socket, port: int) -> None:
        with suppress(OSError):
            while True:
                worker, _ = listener.accept()
                try:
                    broker = socket.create_connection((HOST, port))
                except OSError:
                    cut(worker)
                    continue
                with self._lock:
                    self._sockets |= {worker, broker}
                for work in (self._ask, self._answer):
                    threading.Thread(target=work, args=(worker, broker), daemon=True).start()

    def _ask(self, worker: socket.socket, broker: socket.socket) -> None:
        with suppress(OSError):
            while piece := worker.recv(PIECE_BYTES):
                self._whole.wait()
                broker.sendall(piece)
        self._end(worker, broker)

    def _answer(self, worker: socket.socket, broker: socket.socket) -> None:
        with suppress(OSError):
            while frame := read_frame(broker):
                for real, ours in self._names:
                    frame = frame.replace(real, ours)
                self._whole.wait()
                worker.sendall(SIZE.pack(len(frame)) + frame)
        self._end(worker, broker)

    def _end(self, *sockets: socket.socket) -> None:
        self._whole.wait()
        cut(*sockets)
        with self._lock:
            self._sockets.difference_update(sockets)


def _name(port: int) -> bytes:
    """A broker's host and port, as they are in an answer."""
    return HOST.encode() + SIZE.pack(port)
