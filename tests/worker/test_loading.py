"""What `MODULE:NAME` is taken for, and what is said where it names no consumer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from inorder.errors import UsageError
from inorder.worker.loading import load_consumer

CONSUMER = """
import inorder
from typing import TypedDict

class Entry(TypedDict):
    account: str
    version: int
    id: str

@inorder.fold(key="account", version="version", id="id")
def {name}(state: int | None, entry: Entry) -> int:
    return 1

class Inner:
    inner = {name}

plain = len
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory, and no module of another test."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "bank"]:
        monkeypatch.delitem(sys.modules, name)
    known, path = set(sys.modules), list(sys.path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def write(folder: Path, name: str, text: str = CONSUMER, of: str = "balance") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text.replace("{name}", of))
    return path


def refusal(target: str) -> str:
    with pytest.raises(UsageError) as caught:
        load_consumer(target)
    return str(caught.value)


def test_a_module_of_the_working_directory(folder: Path) -> None:
    write(folder, "bank/consumers.py")
    assert load_consumer("bank.consumers:balance").__name__ == "balance"
    assert sys.path[0] == str(folder)
    before = list(sys.path)
    load_consumer("bank.consumers:balance")
    assert sys.path == before, "looked for there once"


def test_a_file_anywhere(folder: Path) -> None:
    path = write(folder / "elsewhere", "ledger.py", "import beside\n" + CONSUMER)
    write(folder / "elsewhere", "beside.py", "")
    found = load_consumer(f"{path}:balance")
    assert (found.__name__, found.__module__) == ("balance", "ledger")
    assert load_consumer(f"{path}:balance") is found, "a file is one module, however often it is named"
    assert load_consumer("elsewhere/ledger.py:balance") is found


def test_a_consumer_within_a_class(folder: Path) -> None:
    path = write(folder, "ledger.py")
    assert load_consumer(f"{path}:Inner.inner") is load_consumer(f"{path}:balance")


@pytest.mark.parametrize("name", ["json.py", "my-consumer.py", "taken.py", "statistics.py"])
def test_a_file_is_not_taken_for_another_module(folder: Path, name: str) -> None:
    sys.modules["taken"] = ModuleType("taken")
    path = write(folder, name)
    before = sys.modules.get(path.stem)
    found = load_consumer(f"{path}:balance")
    assert found.__module__ == f"inorder_consumer_{path.stem}"
    assert sys.modules.get(path.stem) is before
    assert sys.modules[found.__module__].__dict__["balance"] is found, "types are looked up there"


def test_what_names_nothing(folder: Path) -> None:
    write(folder, "ledger.py")
    assert refusal(":balance").startswith("':balance' names no consumer: write MODULE:NAME")
    assert refusal("").startswith("'' names no consumer")
    assert refusal("nowhere:balance").startswith("there is no module 'nowhere' here or installed: write MODULE:NAME")
    assert refusal("nowhere.deeper:balance").startswith("there is no module 'nowhere'")
    assert refusal("ledger.deeper:balance").startswith("there is no module 'ledger.deeper'")
    assert refusal("nowhere.py:balance") == (
        "there is no file nowhere.py: write MODULE:NAME, such as bank.consumers:balance or bank.py:balance"
    )
    assert refusal("here/nowhere:balance").startswith("there is no file here/nowhere")
    assert refusal("here\\nowhere:balance").startswith("there is no file here\\nowhere")
    (folder / "ledger.txt").write_text("")
    said = refusal("./ledger.txt:balance")
    assert said.startswith(f"{folder / 'ledger.txt'} is no Python file: write MODULE:NAME")


def test_what_could_have_been_meant(folder: Path) -> None:
    write(folder, "ledger.py", CONSUMER + "\nsecond = balance\n")
    ways = "write ledger.py:balance or ledger.py:second"
    assert refusal("ledger.py") == f"ledger.py is a module: {ways}"
    assert refusal("ledger") == "ledger is a module: write ledger:balance or ledger:second"
    assert refusal("ledger.py:other") == f"ledger.py has no 'other': {ways}"
    assert refusal("ledger.py:Inner.other") == f"ledger.py has no 'Inner.other': {ways}"
    assert refusal("ledger.py:plain") == f"ledger.py:plain is not a consumer: {ways}"
    write(folder, "empty.py", "x = 1")
    assert refusal("empty.py:x") == (
        "empty.py:x is not a consumer: there is no consumer in it; "
        "decorate a function with @inorder.fold or @inorder.handler"
    )


@pytest.mark.parametrize("by_path", [True, False])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\nraise OSError('no GPU')", "cannot be imported: OSError: no GPU ({path}, line 2)"),
        ("import nowhere_to_be_found", "cannot be imported: ModuleNotFoundError: No module named "),
        ("raise SystemExit(3)", "cannot be imported: SystemExit: 3 ({path}, line 1)"),
        ("x = 1\ny = (", "cannot be imported: '(' was never closed ({path}, line 2)"),
        ("import inorder\nraise inorder.UsageError('a wrong declaration')", ": a wrong declaration"),
    ],
    ids=["raises", "imports what is not there", "exits", "no Python", "a mistake in a declaration"],
)
def test_a_module_that_cannot_be_imported_says_why_and_where(folder: Path, text: str, said: str, by_path: bool) -> None:
    path = write(folder, "broken.py", text)
    name = "broken.py" if by_path else "broken"
    assert said.format(path=path) in refusal(f"{name}:balance")
    assert refusal(f"{name}:balance").startswith(f"{name}")
    assert "broken" not in sys.modules, "it is no module"
    write(folder, "broken.py")
    if by_path:
        assert load_consumer(f"{name}:balance").__name__ == "balance", "mended, it can be"


def test_where_it_broke_is_told_of_the_users_code_and_not_of_what_imports_it(folder: Path) -> None:
    write(folder, "outer.py", "\n\nimport inner")
    inner = write(folder, "inner.py", "\n1 / 0")
    assert refusal("outer:balance").endswith(f"({inner}, line 2)")
    assert refusal("outer.py:balance").endswith(f"({inner}, line 2)")
