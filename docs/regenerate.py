"""Runs the commands in the console blocks of a page, and puts what they print under them: `python docs/regenerate.py`.

A page is its own source. Lines that begin with `$ ` in a block marked `console` are run, one after the other, in a new
folder that has the project's `examples/` in it. A comment `<!-- run: COMMAND -->` runs without being shown, and the
block after `<!-- file: NAME -->` is written to a file of that name. `--check` changes nothing, and fails where a page
would say something else; times, ages and fingerprints may differ.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "docs" / f"{name}.md" for name in ("tutorial", "dead-letters", "proof", "runbook")]
_BLOCK = re.compile(r"```console\n(.*?)```|<!-- run: (.*?) -->|<!-- file: (\S+) -->\n\n```\w+\n(.*?)```", re.DOTALL)
_VARYING = [
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "TIME"),
    (re.compile(r"\b(about )?(under 1|\d+(\.\d+)?) (s|m|h)\b"), "AGE"),
    (re.compile(r"\b\d+ events/s"), "RATE"),
    (re.compile(r"\b[0-9a-f]{8}\b"), "FINGERPRINT"),
    (re.compile(r'File "[^"]*", line \d+'), "PLACE"),
    (re.compile(r" +"), " "),
]


def regenerate(text: str) -> str:
    """The page with what its commands print now."""
    with tempfile.TemporaryDirectory(prefix="inorder-docs-") as name:
        folder = Path(name)
        shutil.copytree(ROOT / "examples", folder / "examples")

        def rerun(found: re.Match[str]) -> str:
            if found[2] is not None:
                _run(found[2], folder)
                return found[0]
            if found[3] is not None:
                (folder / found[3]).write_text(found[4])
                return found[0]
            commands = [line[2:] for line in found[1].splitlines() if line.startswith("$ ")]
            return "```console\n" + "".join(f"$ {one}\n{_run(one, folder)}" for one in commands) + "```"

        return _BLOCK.sub(rerun, text)


def plain(text: str) -> str:
    """The page without what differs from run to run."""
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    return text


def _run(command: str, folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, "PATH": path, "INORDER_ACTOR": "dana", "NO_COLOR": "1", "COLUMNS": "100"}
    ended = subprocess.run(
        ["sh", "-c", command],
        check=False,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    lines = [line.rstrip() for line in ended.stdout.replace(str(folder.resolve()), "~").splitlines()]
    return "".join(f"{line}\n" for line in lines)


def main(arguments: list[str]) -> int:
    """Regenerate all pages, or check them."""
    stale = []
    for page in PAGES:
        before = page.read_text()
        after = regenerate(before)
        if plain(after) != plain(before):
            stale.append(page.name)
            if "--check" not in arguments:
                page.write_text(after)
    for name in stale:
        print(f"{name} {'is not what its commands print' if '--check' in arguments else 'is written anew'}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
