"""What is written of a result: complete, the same each time, and pictures that are whole."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from inorder import UsageError
from inorder.lab import report
from inorder.lab.drawing import HIGH, WIDE, svg
from inorder.lab.results import Dots, Line, Links, Moments, Plot, Result, Spans, Table, Verdict

CURVES = Plot(
    name="curves",
    title="A < B & C",
    x="time",
    y="events/s",
    logarithmic=True,
    marks=[
        Line(label="steps", tone="inorder", points=[(0, 3), (10, 300), (20, 4_000)], steps=True),
        Line(label="dashed", tone="truth", points=[(0, 5), (20, 50)], dashed=True),
        Dots(label="dots", tone="naive", points=[(5, 7)], hollow=True),
        Links(pairs=[((5, 7), (10, 70))]),
        Moments(at=[(10, "grown")]),
    ],
)
LANES = Plot(
    name="lanes",
    title="Lanes",
    x="ms",
    y="key",
    lanes=["a", "b"],
    marks=[Spans(label="1", tone="one", bars=[(0.0, 2.5, 0), (1.0, 4.0, 1)])],
)
RESULT = Result(
    experiment="example",
    question="What is it?",
    broker="kafka",
    seed=3,
    version="1.2.3",
    setting="So it was run.",
    tables=[Table(title="Figures", columns=["name", "n", "share"], rows=[["a|b", 12_345, 0.12345]], note="Mind.")],
    plots=[CURVES, LANES],
    verdicts=[Verdict(claim="good", holds=True, shown="1"), Verdict(claim="bad", holds=False, shown="0")],
    elapsed_s=1.5,
)


def test_a_report_says_everything(tmp_path: Path) -> None:
    report.write(RESULT, tmp_path / "new" / "folder")
    text = (tmp_path / "new" / "folder" / "report.md").read_text()
    for part in (
        "| a/b | 12,345 | 0.123 |",
        "Mind.",
        "![Lanes](lanes.svg)",
        "- Holds: good (1)",
        "- **Does not hold**: bad (0)",
        "*inorder 1.2.3, seed 3, 1.5 s: `inorder lab example --seed 3 --broker kafka`*",
    ):
        assert part in text
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == {
        "report.md",
        "report.json",
        "curves.svg",
        "lanes.svg",
    }
    assert report.read(tmp_path / "new" / "folder") == RESULT
    assert not RESULT.holds


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="give another --out"):
        report.write(RESULT, tmp_path / "file")


@pytest.mark.parametrize("plot", [CURVES, LANES], ids=lambda plot: plot.name)
def test_a_picture_is_whole_and_the_same_each_time(plot: Plot) -> None:
    again = msgspec.json.decode(msgspec.json.encode(plot), type=Plot)
    assert svg(plot) == svg(again)
    root = ElementTree.fromstring(svg(plot))
    high = float(root.get("height", 0))
    for element in root.iter():
        for name, most in (("x", WIDE), ("x1", WIDE), ("cx", WIDE), ("y", high), ("y1", high), ("cy", high)):
            assert 0 <= float(element.get(name, 0)) <= most, ElementTree.tostring(element)
    words = "".join(root.itertext())
    assert plot.title in words
    assert plot.x in words
    for mark in plot.marks:
        assert getattr(mark, "label", "") in words


def test_a_higher_value_is_further_up() -> None:
    low, high = Dots(label="low", tone="one", points=[(0, 1)]), Dots(label="high", tone="two", points=[(1, 9)])
    root = ElementTree.fromstring(svg(Plot(name="p", title="t", x="x", y="y", marks=[low, high])))
    circles = [float(e.get("cy", 0)) for e in root.iter() if e.tag.endswith("circle") and float(e.get("cy", 0)) > 50]
    assert 0 < circles[1] < circles[0] < HIGH


def test_words_of_near_moments_do_not_run_into_each_other() -> None:
    line = Line(label="line", tone="one", points=[(0, 1), (100, 9)])
    words = Moments(at=[(50, "a long word about it"), (51, "another"), (90, "far")])
    root = ElementTree.fromstring(svg(Plot(name="p", title="t", x="x", y="y", marks=[line, words])))
    rows = {e.text: float(e.get("y", 0)) for e in root.iter() if e.text in {"a long word about it", "another", "far"}}
    assert rows["another"] > rows["a long word about it"] == rows["far"]
