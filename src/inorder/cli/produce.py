"""`inorder produce`: the lines of a file to a broker, all of them or none."""

from __future__ import annotations

import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from inorder.cli.codes import Exit
from inorder.cli.failing import check_not_an_option, complain, one_line
from inorder.errors import InorderError, UsageError
from inorder.wiring import check_sink, open_sink

_BATCH = 1_000
SHOWN = 20
"""Lines that are not valid and are named. Whoever has more of them has the wrong file, or one mistake everywhere."""

_decode = msgspec.json.Decoder().decode


def produce(
    file: Annotated[str, Parameter(allow_leading_hyphen=True, help="A JSON Lines file, or - for standard input")],
    /,
    *,
    to: Annotated[str, Parameter(help="embedded://path.db/TOPIC, kafka://host:port/TOPIC or sqs://QUEUE.fifo")],
    key: Annotated[str, Parameter(help="The field whose value chooses the partition")],
    partitions: Annotated[
        int | None, Parameter(validator=Number(gte=1), help="Create the topic with so many, or let it grow to them")
    ] = None,
    as_json: Annotated[bool, Parameter("--json", negative=(), show_default=False, help="Print one document")] = False,
) -> int:
    """Send the lines of a JSON Lines file to a broker, and print how many it keeps.

    Every line is checked first. If some are not JSON objects with a usable
    key, the first twenty of them are reported with their numbers, nothing is
    sent, and the exit code is 1. Blank lines are left out.
    """
    check_not_an_option(file, "FILE")
    check_sink(to)
    with _open(file) as lines:
        bad = 0
        for number, _, problem in _read(lines, key):
            if problem:
                bad += 1
                if bad <= SHOWN:
                    print(f"line {number}: {one_line(problem)}", file=sys.stderr)
        if bad > SHOWN:
            print(f"… and {bad - SHOWN:,} more", file=sys.stderr)
        if bad:
            complain(f"{file}: {bad:,} {'line is' if bad == 1 else 'lines are'} not valid; nothing was sent")
            return Exit.FAILURE
        lines.seek(0)
        delivered = _send(lines, to, key, partitions)
    print(msgspec.json.encode({"delivered": delivered}).decode() if as_json else f"{delivered} delivered")
    return Exit.OK


def _send(lines: BinaryIO, to: str, key: str, partitions: int | None) -> int:
    sink = open_sink(to, partitions)
    handed_over = 0
    try:
        batch: list[tuple[bytes | None, bytes]] = []
        for number, record, problem in _read(lines, key):
            if problem:
                raise InorderError(f"line {number}: {problem}; the file has changed since it was checked")
            batch.append(record)
            if len(batch) == _BATCH:
                sink.send(batch)
                handed_over += len(batch)
                batch = []
        sink.send(batch)
        return sink.flush()
    except InorderError as error:
        if not handed_over:
            raise
        raise InorderError(
            f"{error}; up to {handed_over + _BATCH} lines may have been sent: "
            "once it works again, send all of them, for consumers skip what they know"
        ) from error
    finally:
        sink.close()


def _read(lines: BinaryIO, key: str) -> Iterator[tuple[int, tuple[bytes, bytes], str]]:
    """Number, (key, value) and what is wrong, "" if nothing is, of each line that is not blank."""
    for number, line in enumerate(lines, 1):
        value = line.removesuffix(b"\n").removesuffix(b"\r")
        if not value.strip():
            continue
        try:
            yield number, (_key_of(_decode(value), key), value), ""
        except (ValueError, RecursionError) as error:
            yield number, (b"", b""), str(error)


def _key_of(event: Any, field: str) -> bytes:
    """The record key of one event. Raises ValueError with what is wrong."""
    if not isinstance(event, dict):
        raise ValueError("is not a JSON object")
    if field not in event:
        raise ValueError(f"{field}: missing")
    found = event[field]
    if type(found) is int:
        return str(found).encode()
    if not isinstance(found, str) or not found:
        raise ValueError(f"{field}: {found!r:.40} is not a text of one character or more, nor a whole number")
    try:
        return found.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{field}: contains half of a surrogate pair") from None


@contextmanager
def _open(name: str) -> Iterator[BinaryIO]:
    """The input, in a form that can be read twice: what is no regular file is kept in a temporary one."""
    if name == "-":
        with _spooled(sys.stdin.buffer) as kept:
            yield kept
        return
    try:
        found = Path(name).open("rb")  # noqa: SIM115
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}: name a JSON Lines file, or -") from None
    with found:
        if stat.S_ISREG(Path(name).stat().st_mode):
            yield found
        else:
            with _spooled(found) as kept:
                yield kept


@contextmanager
def _spooled(source: BinaryIO) -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as kept:
        while data := source.read(1 << 20):
            kept.write(data)
        kept.seek(0)
        yield kept
