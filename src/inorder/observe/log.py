"""Log lines of the command, on standard error. A program that embeds inorder sets its own logging up instead."""

from __future__ import annotations

import logging
import sys
import time

LEVELS = ("debug", "info", "warning", "error")


class Line(logging.Formatter):
    """`2026-01-31T12:00:00.123Z INFO  worker=1 message`: one line whatever the message holds, save for tracebacks."""

    def __init__(self, worker: str) -> None:
        super().__init__()
        self._worker = f"worker={worker} " if worker else ""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback under it if the record has one."""
        seconds, thousandths = divmod(int(record.created * 1000), 1000)
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        told = "" if record.name == "inorder.events" else self._worker
        message = "".join(c if c.isprintable() else repr(c)[1:-1] for c in record.getMessage())
        line = f"{at}.{thousandths:03d}Z {record.levelname:<7} {told}{message}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def log_to_stderr(level: str, worker: str = "") -> None:
    """Write the lines of inorder's own loggers from `level` up; of others, warnings and errors."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Line(worker))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("inorder").setLevel(level.upper())
