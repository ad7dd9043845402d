"""README and the pages of docs/: what they show runs, what they name is there, and the site they make has no dead link.

Transcripts have tests of their own: see `docs/regenerate.py`.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from inorder import cli
from tests.deadletters.test_transcript import DOCS, loaded, regenerating

ROOT = DOCS.parent
PAGES = sorted([ROOT / "README.md", *DOCS.glob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LANGUAGES = {"python", "sh", "console", "json", "text", ""}
ELSEWHERE = {"producing.md": "tests/producing/test_page.py"}
"""Pages whose Python needs more than a folder, and the test that runs it."""

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(page: Path, language: str) -> list[str]:
    return [code for found, code in FENCE.findall(page.read_text()) if found == language]


def code_of(text: str) -> str:
    """Code without its comments and docstrings, and without blank lines."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("#", '"""'))]
    return "\n".join(lines)


@pages
def test_every_block_is_of_a_language_that_is_tested(page: Path) -> None:
    assert {language for language, _ in FENCE.findall(page.read_text())} <= LANGUAGES


@pages
def test_python_runs_or_is_a_part_of_an_example(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page.name in ELSEWHERE:
        assert f'"{page.name}"' in (ROOT / ELSEWHERE[page.name]).read_text()
        return
    monkeypatch.chdir(tmp_path)
    examples = [file.read_text() for file in (ROOT / "examples").rglob("*.py")]
    found: dict[str, Any] = {"__name__": "page"}
    for code in blocks(page, "python"):
        if not any(code_of(code) in code_of(example) for example in examples):
            exec(compile(code, page.name, "exec"), found)


@pages
def test_commands_are_understood(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of them is carried out: their arguments are read, and that is all."""
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    for line in "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] == "inorder":
            cli.application(words[1]).parse_args(words[1:], print_error=False, exit_on_error=False)
        elif words[0] == "make":
            assert words[1] in targets
        elif words[:2] == ["pip", "install"]:
            named = re.fullmatch(r"inorder(?:\[([\w,]+)\])?", words[2])
            assert named is not None
            assert set(filter(None, (named[1] or "").split(","))) <= set(extras)
        else:
            assert words[0] == "python", f"nobody knows what {line!r} does"
            assert (ROOT / words[1]).exists()


@pages
def test_every_test_and_file_that_is_named_is_there(page: Path) -> None:
    text = page.read_text()
    for file, test in re.findall(r"`((?:tests|examples|docs|bench|src)/[\w/.]+?)(?:::(\w+))?`", text):
        assert (ROOT / file).exists(), file
        assert not test or f"def {test}(" in (ROOT / file).read_text(), f"{file}::{test}"
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
        assert "://" in target or (page.parent / target).exists(), target


def test_what_is_written_from_the_code_is_what_the_code_says(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = loaded("reference")
    for name, value in reference.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    assert reference.COMMANDS.read_text() == reference.commands()
    assert reference.HANDLERS.read_text() == reference.limits(reference.HANDLERS.read_text())


def test_the_tutorial_is_what_its_commands_print() -> None:
    docs = regenerating()
    text = (DOCS / "tutorial.md").read_text()
    assert docs.plain(docs.regenerate(text)).splitlines() == docs.plain(text).splitlines()


class Links(HTMLParser):
    """What a built page links to, what it loads, and the places in it that can be linked to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.places: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.places.update(filter(None, (found.get("id"), found.get("name"))))
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag == "link" and found.get("rel") not in {"canonical", "alternate"}:
            self.loads.append(found.get("href", ""))
        elif "src" in found:
            self.loads.append(found["src"])


def test_the_site_is_built_and_has_no_dead_link(tmp_path: Path) -> None:
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    ended = subprocess.run(
        [Path(sys.executable).with_name("zensical"), "build", "--strict"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    site = tmp_path / "site"
    built = {page: Links(page.read_text()) for page in site.glob("*.html")}
    assert {page.stem for page in PAGES if page.parent == DOCS} <= {page.stem for page in built}
    for page, found in built.items():
        for link in [*found.links, *found.loads]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                assert link in found.links, f"{page.name} loads {link} from the network"
                continue
            if page.name == "404.html":
                continue  # served from anywhere
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert target.exists(), f"{page.name}: {link}"
            if parts.fragment and target in built:
                assert unquote(parts.fragment) in built[target].places, f"{page.name}: {link}"
