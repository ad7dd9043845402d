"""Serves what is observed over HTTP: /metrics, /livez, /readyz, /keys. Only answers; it changes and reads nothing.

/livez: every poll loop has turned lately; restarting helps when it has not. /readyz: the store answers, and all workers
run. How far a worker is behind affects neither. /keys names keys, so it answers only the machine itself.
"""

from __future__ import annotations

import json
import logging
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any, NamedTuple

from inorder.errors import UsageError

log = logging.getLogger("inorder.metrics")

HIGHEST_PORT = 65_535


class Answer(NamedTuple):
    """What a page says."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


Page = Callable[[str], Answer]
"""Called with what the asker accepts."""


def said(trouble: str | None) -> Answer:
    """The answer of a probe: 200, or 503 with what is wrong."""
    return Answer(200, b"ok\n") if trouble is None else Answer(503, f"{trouble}\n".encode())


def as_json(document: Any) -> Answer:
    """A document."""
    return Answer(200, json.dumps(document).encode() + b"\n", "application/json")


def address_of(text: str) -> tuple[str, int]:
    """The host and the port of `PORT` or `HOST:PORT`. Without a host: all that the machine has."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > HIGHEST_PORT:
        raise UsageError(f"--metrics {text!r} is no place to listen: write a port, as 9464, or HOST:PORT")
    return host.strip("[]"), int(port)


class Serving:
    """Within the block, answers at `address`. Port 0: any free one, which `port` tells. `private` pages stay local."""

    def __init__(self, address: tuple[str, int], pages: Mapping[str, Page], private: Mapping[str, Page]) -> None:
        try:
            self._server = _Server(address, _handler(pages, private), ":" in address[0])
        except OSError as error:
            place = f"{address[0] or '*'}:{address[1]}"
            raise UsageError(f"--metrics cannot listen at {place}: {error.strerror or error}") from None
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True)

    def __enter__(self) -> Serving:
        self._thread.start()
        log.info("metrics at http://localhost:%d/metrics, and /livez, /readyz, /keys", self.port)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], six: bool) -> None:
        self.address_family = socket.AF_INET6 if six else socket.AF_INET
        super().__init__(address, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Whoever asks may hang up at any time.
        level = logging.DEBUG if isinstance(sys.exc_info()[1], OSError) else logging.ERROR
        log.log(level, "%s was not answered", client_address[0], exc_info=True)


def _is_here(host: str) -> bool:
    """Whether an address is the loopback's: of IPv4 also as a socket of IPv6 writes it, ::ffff:127.0.0.1."""
    address = ip_address(host)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _handler(pages: Mapping[str, Page], private: Mapping[str, Page]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers GET and HEAD."""

        timeout = 10
        server_version = "inorder"
        sys_version = ""

        def do_GET(self) -> None:
            self._answer()

        def do_HEAD(self) -> None:
            self._answer()

        def _answer(self) -> None:
            path = self.path.partition("?")[0]
            page = pages.get(path)
            if page is None and path in private:
                page = private[path] if _is_here(self.client_address[0]) else _refused
            answer = (page or _unknown)(self.headers.get("Accept", ""))
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        def log_message(self, format: str, *args: Any) -> None:
            log.debug(format, *args)

    def _unknown(accept: str) -> Answer:
        return Answer(404, f"there are {', '.join(sorted({*pages, *private}))}\n".encode())

    def _refused(accept: str) -> Answer:
        return Answer(403, b"this page names keys: ask for it on the machine itself\n")

    return Handler
