"""`inorder dlq edit` and `inorder dlq skip`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from inorder.cli.codes import Exit
from inorder.cli.dlq.asking import (
    COUNTED,
    DEFAULT_STORE,
    DIGITS,
    Json,
    Store,
    Stream,
    Who,
    Why,
    Yes,
    ask_reason,
    check_key,
    check_terminal,
    confirm,
    open_for_letter,
)
from inorder.cli.dlq.words import count, cut, print_json
from inorder.deadletters import operating
from inorder.deadletters.who import who
from inorder.errors import UsageError
from inorder.worker.loading import load_consumer

Consumer = Annotated[
    str | None, Parameter(show_default=False, help="MODULE:NAME to check the payload against (bank.py:balance)")
]


def edit(
    letter: Annotated[int, Parameter(validator=COUNTED, help="The number of a letter")],
    /,
    *,
    payload: Annotated[str, Parameter(help="The file that has the new payload, or - for standard input")],
    consumer: Consumer = None,
    store: Store = DEFAULT_STORE,
    reason: Why = None,
    yes: Yes = False,
    by: Who = None,
    as_json: Json = False,
) -> int:
    """Give a letter a new payload. The old one is kept beside it, with who and why.

    Key, version and id stay what they were. The next plan replays the new one.
    """
    check_terminal(yes, reason)
    if payload == "-" and (not yes or reason is None):
        raise UsageError("with the payload on standard input, nothing can be asked: add --yes and --reason")
    value = _read(payload)
    function = None if consumer is None else load_consumer(consumer)
    why = ask_reason(reason)
    confirm(f"Give letter {letter} a new payload of {len(value)} bytes?", yes)
    look = open_for_letter(store, None, letter)
    try:
        read_as = operating.edit(look, letter, value, operating.Operator(by or who(), why, time.time()), function)
    finally:
        look.close()
    if as_json:
        print_json({"letter": letter, "bytes": len(value), "read_as": read_as})
    else:
        print(f"letter {letter} has a new payload of {len(value)} bytes; {read_as}")
    return Exit.OK


def skip(
    target: Annotated[
        str, Parameter(validator=check_key, help="The number of a letter; a key, together with --version")
    ],
    /,
    *,
    version: Annotated[
        int | None, Parameter(validator=COUNTED, help="A version of the key TARGET that will never come")
    ] = None,
    store: Store = DEFAULT_STORE,
    stream: Stream = None,
    reason: Why = None,
    yes: Yes = False,
    by: Who = None,
    as_json: Json = False,
) -> int:
    """Say that an event will never be applied, and let its key go on. Cannot be undone.

    The version is covered by a tombstone from then on: should its event come after
    all, that is an alarm and a new letter. Reports tell of the skip for ever. What
    waits behind it goes on with the next worker that looks, within seconds.
    """
    check_terminal(yes, reason)
    if version is None and not (target.isdecimal() and len(target) <= DIGITS):
        raise UsageError("skip takes the number of a letter, or a key with --version")
    why = ask_reason(reason)
    look = open_for_letter(store, stream, int(target) if version is None else None)
    what = f"letter {target}" if version is None else f"version {version} of key {cut(target, 60)}"
    try:
        operator = operating.Operator(by or who(), why, time.time())
        confirm(f"Skip {what} of stream {look.stream} for ever?", yes)
        if version is None:
            found = operating.skip_letter(look, int(target), operator)
        else:
            found = operating.skip_version(look, target, version, operator)
    finally:
        look.close()
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        print(f"{what}: {found.detail}")
        if found.behind:
            print(f"{count(found.behind, 'event')} waiting: the next worker that looks applies them")
    return Exit.OK


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}") from None
