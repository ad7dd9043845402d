"""Draws a plot as SVG. The same plot gives the same bytes: no dates, no random names, no library's version."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from inorder.lab.results import MORE, Dots, Line, Links, Mark, Moments, Plot, Point, Spans

WIDE = 780
HIGH = 380
LANE_HIGH = 22
TOP, BOTTOM, RIGHT = 64, 50, 18
LETTER = 6.6
"""About how wide a letter is, in pixels, at 12 pixels of height."""
TONES = {
    "inorder": "#0072b2",
    "naive": "#d55e00",
    "truth": "#555555",
    "one": "#0072b2",
    "two": "#e69f00",
    "three": "#009e73",
    "four": "#cc79a7",
    "five": "#56b4e9",
    "six": "#d55e00",
}
"""Colours that people who see few of them tell apart as well (Okabe and Ito's)."""
TICKS = 6
HEADROOM = 0.1
"""Of the height, for words above the curves."""


class _Axis:
    """From numbers to pixels."""

    def __init__(self, low: float, high: float, start: float, end: float, logarithmic: bool = False) -> None:
        self._log = logarithmic
        self._low, self._high = self._at(low), self._at(high)
        if self._high == self._low:
            self._high += 1
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        share = (self._at(value) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)

    def _at(self, value: float) -> float:
        return math.log10(value) if self._log else value

    def ticks(self) -> list[float]:
        """Round numbers, a handful."""
        if self._log:
            decades = range(math.floor(self._low), math.ceil(self._high) + 1)
            factors = (1, 2, 5) if len(decades) < TICKS // 2 + 1 else (1,)
            found = [factor * 10.0**decade for decade in decades for factor in factors]
            return [one for one in found if self._low - 1e-9 <= math.log10(one) <= self._high + 1e-9]
        rough = (self._high - self._low) / TICKS
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
        first = math.ceil(self._low / step - 1e-9)
        return [step * number for number in range(first, math.floor(self._high / step + 1e-9) + 1)]


def svg(plot: Plot) -> str:
    """The picture."""
    high = TOP + BOTTOM + LANE_HIGH * len(plot.lanes) if plot.lanes else HIGH
    left = 16 + (LETTER * max(map(len, plot.lanes)) if plot.lanes else 62)
    points = [point for mark in plot.marks for point in _points(mark)]
    xs, ys = [x for x, _ in points] or [0.0], [y for _, y in points] or [0.0]
    across = _Axis(*_range(xs, False), left, WIDE - RIGHT)
    if plot.lanes:
        up = _Axis(-MORE, len(plot.lanes) - MORE, TOP, high - BOTTOM)
    else:
        low, top = _range(ys, plot.logarithmic)
        if any(isinstance(mark, Moments) for mark in plot.marks) and not plot.logarithmic:
            top += HEADROOM * (top - low)
        up = _Axis(low, top, high - BOTTOM, TOP, plot.logarithmic)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {high}" width="{WIDE}" height="{high}" '
        'font-family="system-ui, sans-serif" font-size="12" fill="#222222">',
        f'<rect width="{WIDE}" height="{high}" fill="#ffffff"/>',
        _text(16, 22, plot.title, size=15, weight="bold"),
        *_legend(plot.marks),
        *_frame(plot, across, up, left, high),
        *(part for mark in plot.marks for part in _drawn(mark, across, up, high - BOTTOM)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _points(mark: Mark) -> list[Point]:
    if isinstance(mark, Spans):
        return [point for start, end, lane in mark.bars for point in ((start, lane), (end, lane))]
    if isinstance(mark, Links):
        return [point for pair in mark.pairs for point in pair]
    if isinstance(mark, Moments):
        return []
    return mark.points


def _range(values: Sequence[float], logarithmic: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    if logarithmic:
        return low / 1.3, high * 1.3
    low = 0.0 if 0 <= low <= 0.4 * high else low
    margin = 0.03 * (high - low) or 1.0
    return low - (margin if low else 0), high + margin


def _frame(plot: Plot, across: _Axis, up: _Axis, left: float, high: int) -> Iterator[str]:
    bottom = high - BOTTOM
    for tick in across.ticks():
        at = across(tick)
        yield _stroke(at, TOP, at, bottom, "#e6e6e6")
        yield _text(at, bottom + 16, _number(tick), anchor="middle")
    if plot.lanes:
        for place, name in enumerate(plot.lanes):
            yield _text(left - 8, up(place) + 4, name, anchor="end")
    else:
        for tick in up.ticks():
            at = up(tick)
            yield _stroke(left, at, WIDE - RIGHT, at, "#e6e6e6")
            yield _text(left - 8, at + 4, _number(tick), anchor="end")
        middle = (TOP + bottom) / 2
        yield _text(16, middle, plot.y, anchor="middle", turned=True)
    yield _stroke(left, bottom, WIDE - RIGHT, bottom, "#888888")
    yield _stroke(left, TOP, left, bottom, "#888888")
    yield _text((left + WIDE - RIGHT) / 2, high - 12, plot.x, anchor="middle")


def _legend(marks: Sequence[Mark]) -> Iterator[str]:
    at = 16.0
    for mark in marks:
        if isinstance(mark, Links | Moments):
            continue
        colour = TONES[mark.tone]
        if isinstance(mark, Line):
            yield _stroke(at, 40, at + 18, 40, colour, 2, mark.dashed)
        elif isinstance(mark, Dots):
            yield _dot(at + 9, 40, colour, mark.hollow)
        else:
            yield f'<rect x="{at:.1f}" y="35" width="18" height="10" rx="2" fill="{colour}"/>'
        yield _text(at + 24, 44, mark.label)
        at += 24 + LETTER * len(mark.label) + 20


def _drawn(mark: Mark, across: _Axis, up: _Axis, bottom: float) -> Iterator[str]:
    if isinstance(mark, Line):
        yield _path(mark, across, up)
    elif isinstance(mark, Dots):
        for x, y in mark.points:
            yield _dot(across(x), up(y), TONES[mark.tone], mark.hollow)
    elif isinstance(mark, Spans):
        for start, end, lane in mark.bars:
            x, wide = across(start), max(1.0, across(end) - across(start) - 0.5)
            yield (
                f'<rect x="{x:.1f}" y="{up(lane) - 7:.1f}" width="{wide:.1f}" height="14" rx="2" '
                f'fill="{TONES[mark.tone]}"/>'
            )
    elif isinstance(mark, Links):
        for (x, y), (to_x, to_y) in mark.pairs:
            yield _stroke(across(x), up(y), across(to_x), up(to_y), "#bbbbbb")
    else:
        until = 0.0
        for x, word in mark.at:
            at = across(x)
            # A word that would run into the one before goes below it.
            row = 1 if at < until else 0
            until = max(until, at + 8 + LETTER * len(word))
            yield _stroke(at, TOP, at, bottom, "#888888", dashed=True)
            yield _text(at + 4, TOP + 10 + 15 * row, word)


def _path(mark: Line, across: _Axis, up: _Axis) -> str:
    pieces: list[str] = []
    for place, (x, y) in enumerate(mark.points):
        if place and mark.steps:
            pieces.append(f"H{across(x):.1f}")
        pieces.append(f"{'L' if place else 'M'}{across(x):.1f} {up(y):.1f}")
    dash = ' stroke-dasharray="5 4"' if mark.dashed else ""
    return f'<path d="{"".join(pieces)}" fill="none" stroke="{TONES[mark.tone]}" stroke-width="2"{dash}/>'


def _dot(x: float, y: float, colour: str, hollow: bool) -> str:
    inside = "#ffffff" if hollow else colour
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{inside}" stroke="{colour}" stroke-width="1.5"/>'


def _stroke(x: float, y: float, to_x: float, to_y: float, colour: str, wide: float = 1, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    place = f'x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"'
    return f'<line {place} stroke="{colour}" stroke-width="{wide:g}"{dash}/>'


def _text(
    x: float, y: float, words: str, size: int = 12, anchor: str = "start", weight: str = "", turned: bool = False
) -> str:
    rest = f' font-size="{size}"' if size != 12 else ""  # noqa: PLR2004  # the size of the whole picture's text
    rest += f' font-weight="{weight}"' if weight else ""
    rest += f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{rest}>{escape(words)}</text>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1 and value == round(value) else f"{value:g}"
