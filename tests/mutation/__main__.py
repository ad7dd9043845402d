"""`python -m tests.mutation [FILE…]`: plants every flaw in these files (by default in all of core/), and reports.

A flaw that no test notices is a survivor. Each survivor is explained in `survivors.txt`, or it is a hole in the tests:
then this command fails. What was tried is remembered in `.mutation/` until that is removed; `--again` tries survivors
once more, and `--seconds N` stops in time.
"""

from __future__ import annotations

import argparse
import ast
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random

from tests.mutation.explaining import Results, explanations, found_in, write
from tests.mutation.planted import PLANTED, ByHand
from tests.mutation.rooms import ROOMS, SRC
from tests.mutation.running import Text, Timed, catches, untouched
from tests.mutation.trying import Tests
from tests.services import Postgres


def main(arguments: list[str]) -> int:
    """Plant, run, tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--room", choices=ROOMS, default="core")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--most", type=float, default=30.0, help="seconds of tests that one flaw is worth")
    parser.add_argument("--tests", nargs="+", help="run these tests alone, not all of the room's")
    parser.add_argument("--planted", action="store_true", help="the flaws of planted.py, in place of all others")
    parser.add_argument("--again", action="store_true", help="try what survived the last time")
    parser.add_argument("--page", type=Path, help="run nothing; put what was found into this page")
    given = parser.parse_args(arguments)
    if given.page is not None:
        return write(given.page)
    untouched(sys.modules)
    room = ROOMS[given.room]
    until = time.monotonic() + given.seconds
    unexplained = 0
    with ExitStack() as stack:
        if room.service:
            os.environ["INORDER_TEST_POSTGRES"] = stack.enter_context(Postgres.from_environment()).url
        by_hand = [one for one in PLANTED if one.room == given.room]
        files = [file.resolve() for file in given.files] or room.paths()
        if given.planted:
            files = list({one.path for one in by_hand})
        tests = stack.enter_context(Tests(given.tests or room.tests, given.most, files, room.waits))
        if given.planted:
            return _by_hand(by_hand, tests)
        for file in files:
            unexplained += _one(file, tests, until, given.again)
    return 1 if unexplained else 0


def _one(path: Path, tests: Tests, until: float, again: bool) -> int:
    name = path.relative_to(SRC / "inorder").as_posix()
    results = Results(name)
    candidates = found_in(path)
    results.keep({flaw.name for flaw in candidates}, living=not again)
    # In no order, but always the same: so what was tried, if not all, is a fair sample.
    Random(0).shuffle(candidates)
    sound = Text(path, _plain(path, path.read_text()))
    for flaw in candidates:
        if time.monotonic() > until:
            break
        if flaw.name not in results.found:
            by = tests.catch(sound, Text(path, flaw.text), flaw.lines)
            results.add(flaw.name, by)
            print(f"{by or 'SURVIVES'}  {path.name}:{flaw.lines.start} {flaw.name}", flush=True)
    living = [flaw for flaw, by in results.found.items() if by is None]
    left = [flaw for flaw in living if (name, flaw) not in explanations()]
    tried = len(results.found)
    print(f"{name}: {len(candidates)} flaws, {tried} tried, {len(living)} survive, {len(left)} unexplained", flush=True)
    return len(left)


def _by_hand(chosen: list[ByHand], tests: Tests) -> int:
    """Returns 1 if one of them survives."""
    results = Results("planted")
    results.keep({one.name for one in PLANTED})
    for one in chosen:
        if results.found.get(one.name) is not None:
            continue
        text, lines = one.planted()
        planted = Text(one.path, text)
        if one.seen_by:
            by = catches(planted, [Timed(one.seen_by, 10.0)])
        else:
            by = tests.catch(Text(one.path, one.path.read_text()), planted, lines)
        results.add(one.name, by)
        print(f"{by or 'SURVIVES'}  {one.name}", flush=True)
    return int(any(results.found[one.name] is None for one in chosen))


def _plain(path: Path, text: str) -> str:
    """As it is once it has been read and written again, which is what a text with a flaw has been."""
    return ast.unparse(ast.parse(text)) if path.suffix == ".py" else text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
