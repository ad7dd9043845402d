"""A slow connection: a TCP proxy on loopback that holds back everything for a while, in both directions.

It takes no bandwidth away: what is sent together arrives together, only later. In front of Kafka, whatever a broker
says of where it listens is replaced by where the proxy does, so that clients come back here.
"""

from __future__ import annotations

import queue
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

SIZE = struct.Struct(">i")
CHUNK = 65_536

Piece = tuple[float, bytes]


class SlowLink:
    """`with SlowLink("127.0.0.1:9092", 0.01) as link:` adds 10 ms to each round trip to what connects to `link.at`."""

    def __init__(self, to: str, round_trip_s: float, kafka: bool = False) -> None:
        host, _, port = to.rpartition(":")
        self._to = host, int(port)
        self._one_way_s = round_trip_s / 2
        self._kafka = kafka
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = int(self._listener.getsockname()[1])
        self.at = f"127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        for one in self._sockets:
            _cut(one)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._to)
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._sockets.append(one)
                self._carry(client, server, _chunk)
                self._carry(server, client, self._answer if self._kafka else _chunk)

    def _carry(self, start: socket.socket, end: socket.socket, read: Callable[[socket.socket], bytes]) -> None:
        under_way: queue.SimpleQueue[Piece] = queue.SimpleQueue()
        for work in (self._take, self._give):
            threading.Thread(target=work, args=(start, end, read, under_way), daemon=True).start()

    def _take(
        self,
        start: socket.socket,
        end: socket.socket,
        read: Callable[[socket.socket], bytes],
        under_way: queue.SimpleQueue[Piece],
    ) -> None:
        with suppress(OSError):
            while piece := read(start):
                under_way.put((time.monotonic() + self._one_way_s, piece))
        under_way.put((time.monotonic() + self._one_way_s, b""))

    def _give(
        self,
        start: socket.socket,
        end: socket.socket,
        read: Callable[[socket.socket], bytes],
        under_way: queue.SimpleQueue[Piece],
    ) -> None:
        with suppress(OSError):
            while True:
                at, piece = under_way.get()
                time.sleep(max(0.0, at - time.monotonic()))
                if not piece:
                    break
                end.sendall(piece)
        _cut(start)
        _cut(end)

    def _answer(self, server: socket.socket) -> bytes:
        """One whole answer of Kafka's, with our address in place of the broker's."""
        head = _exactly(server, SIZE.size)
        frame = _exactly(server, SIZE.unpack(head)[0]) if head else b""
        if not frame:
            return b""
        real, ours = (self._to[0].encode() + SIZE.pack(port) for port in (self._to[1], self._port))
        return head + frame.replace(real, ours)


def _chunk(one: socket.socket) -> bytes:
    return one.recv(CHUNK)


def _exactly(one: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        part = one.recv(size - len(found))
        if not part:
            return b""
        found += part
    return bytes(found)


def _cut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
