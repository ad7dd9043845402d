"""Writes docs/commands.md, what each command says of itself, and the limits in docs/handlers.md, from the code.

`python docs/reference.py`; `--check` changes nothing, and fails where a page would say something else.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import io
import itertools
import os
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
COMMANDS = ROOT / "commands.md"
HANDLERS = ROOT / "handlers.md"

HEAD = """# Commands

What each command says of itself (`inorder VERB --help`). This page is written by `python docs/reference.py`.

Every verb writes its results to standard output, and progress and logs to standard error. Exit codes: 0 ok, 1 failure,
2 usage, 3 not found, 5 partial, 6 findings, 130 interrupted. `--json` prints one document.
"""
ENVIRONMENT = {"COLUMNS": "88", "NO_COLOR": "1"}
"""As wide as a page of the site."""
_LIMITS = re.compile(r"(<!-- limits -->\n).*?(\n<!-- end of the limits -->)", re.DOTALL)


def commands() -> str:
    """The page of all commands."""
    from inorder import cli

    found = [HEAD]
    for verb in cli.VERBS:
        found.append(f"\n## inorder {verb}\n\n```text\n{_help(verb)}\n```\n")
        below = _verbs_below(cli.VERBS[verb][0])
        found += [f"\n### inorder {verb} {one}\n\n```text\n{_help(verb, one)}\n```\n" for one in below]
    return "".join(found)


def _verbs_below(place: str) -> list[str]:
    """The verbs of a verb that has its own."""
    module = place.partition(":")[0]
    return list(getattr(importlib.import_module(module), "VERBS", ())) if place.endswith(":app") else []


def _help(*verbs: str) -> str:
    """What a command prints when it is asked for help, in a terminal of a fixed width."""
    from inorder.cli import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        main([*verbs, "--help"])
    return "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines())


def limits(page: str) -> str:
    """The page of handlers with every limit, its default and what happens when it is reached."""
    from inorder.core.limits import Limits

    defaults = {name: getattr(Limits(), name) for name in Limits.__struct_fields__}
    told = _docstrings(Limits)
    rows = [f"| `{name}` | {defaults[name]:,.10g} | {told[name]} |" for name in defaults]
    table = "\n".join(["| limit | default | |", "|---|---|---|", *rows])
    return _LIMITS.sub(lambda found: f"{found[1]}\n{table}\n{found[2]}", page)


def _docstrings(kind: Any) -> dict[str, str]:
    """The text under each field of a class."""
    [body] = [node.body for node in ast.parse(inspect.getsource(kind)).body if isinstance(node, ast.ClassDef)]
    found = {}
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            found[ast.unparse(field.target)] = " ".join(str(text.value.value).split())
    return found


def main(arguments: list[str]) -> int:
    """Write both pages, or check them."""
    os.environ.update(ENVIRONMENT)
    stale = []
    for page, text in ((COMMANDS, commands()), (HANDLERS, limits(HANDLERS.read_text()))):
        if not page.exists() or page.read_text() != text:
            stale.append(page.name)
            if "--check" not in arguments:
                page.write_text(text)
    for name in stale:
        print(f"{name} {'is not what the code says' if '--check' in arguments else 'is written anew'}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
