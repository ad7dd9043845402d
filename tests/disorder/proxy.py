"""A TCP proxy in front of one Kafka broker, on loopback, that makes single produce requests fail.

It knows just enough of Kafka's protocol to tell requests and responses apart. Whatever the broker says of where it
listens is replaced by where the proxy does, so that clients come back here.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from types import TracebackType
from typing import Self

PRODUCE = 0
HOLD_REQUESTS = 3
HOLD_S = 0.5
"""The refusal of a damaged request is held back until so many more have come, or for so long: a slow network."""
HEAD = struct.Struct(">hhi")
SIZE = struct.Struct(">i")


class Fate(Enum):
    """What happens to one produce request."""

    PASS = "pass"
    DAMAGE = "damage"
    """A bit flips on the way: the broker sees it by the checksum and refuses; the client sends the records again."""
    LOSE_ACK = "lose_ack"
    """The broker keeps the records; its answer is lost with the connection."""


Plan = Callable[[int, bytes], Fate]
"""Decides on a produce request, by its number from 0 and its bytes."""


def every_pass(number: int, request: bytes) -> Fate:
    return Fate.PASS


class KafkaProxy:
    """`with KafkaProxy(kafka.bootstrap, b"mark") as proxy:`; every record's value holds the mark."""

    def __init__(self, broker: str, mark: bytes) -> None:
        host, _, port = broker.partition(":")
        self._broker = (host, int(port))
        self._mark = mark
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.bootstrap = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.plan: Plan = every_pass
        self.requests = 0
        self.suffered: list[Fate] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        with self._lock:
            for one in self._sockets:
                cut(one)

    def follow(self, plan: Plan) -> None:
        """Count produce requests from 0 again, and let this plan decide on them."""
        with self._lock:
            self.requests = 0
            self.suffered = []
            self.plan = plan

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                broker = socket.create_connection(self._broker)
                for one in (client, broker):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._sockets |= {client, broker}
                marked: dict[int, Fate] = {}
                for work in (self._forward, self._answer):
                    threading.Thread(target=work, args=(client, broker, marked), daemon=True).start()

    def _forward(self, client: socket.socket, broker: socket.socket, marked: dict[int, Fate]) -> None:
        with suppress(OSError):
            while frame := read_frame(client):
                api, _, correlation = HEAD.unpack_from(frame)
                if api == PRODUCE and self._mark in frame:
                    fate = marked[correlation] = self._decide(frame)
                    if fate is Fate.DAMAGE:
                        at = frame.rfind(self._mark)
                        frame = frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1 :]
                broker.sendall(SIZE.pack(len(frame)) + frame)
        cut(client, broker)

    def _hold(self) -> None:
        enough, until = self.requests + HOLD_REQUESTS, time.monotonic() + HOLD_S
        while self.requests < enough and time.monotonic() < until:
            time.sleep(0.005)

    def _decide(self, frame: bytes) -> Fate:
        with self._lock:
            fate = self.plan(self.requests, frame)
            self.requests += 1
            if fate is not Fate.PASS:
                self.suffered.append(fate)
            return fate

    def _answer(self, client: socket.socket, broker: socket.socket, marked: dict[int, Fate]) -> None:
        real = self._broker[0].encode() + SIZE.pack(self._broker[1])
        ours = self._broker[0].encode() + SIZE.pack(int(self.bootstrap.partition(":")[2]))
        with suppress(OSError):
            while frame := read_frame(broker):
                fate = marked.pop(SIZE.unpack_from(frame)[0], Fate.PASS)
                if fate is Fate.LOSE_ACK:
                    break
                if fate is Fate.DAMAGE:
                    self._hold()
                client.sendall(SIZE.pack(len(frame)) + frame.replace(real, ours))
        cut(client, broker)


def read_frame(one: socket.socket) -> bytes:
    """One frame, without its size; empty at the end of the stream."""
    head = _exactly(one, SIZE.size)
    return _exactly(one, SIZE.unpack(head)[0]) if head else b""


def _exactly(one: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        part = one.recv(size - len(found))
        if not part:
            return b""
        found += part
    return bytes(found)


def cut(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
