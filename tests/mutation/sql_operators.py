"""Which flaws can be planted in a file of SQL: in conditions, keys, conflicts, sums, order and limits of statements.

What only a plan or the speed depends on (an index, a join's order, how full pages are) is no flaw, and neither is a
NOT NULL left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from tests.mutation.operators import Flaw

_TOKEN = re.compile(
    r"--[^\n]*|'(?:[^']|'')*'|\"[^\"]*\"|%\(\w+\)s|%s|:\w+|\?\d*|\{\w+\}|::\w+(?:\[\])?|\d+(?:\.\d+)?|\w+"
    r"|<>|<=|>=|\|\||[^\s\w]"
)
_STATEMENT = re.compile(r"^-- (\w+): ", re.MULTILINE)
_MADE = re.compile(
    r"^(?:CREATE|ALTER)[\s\w]*? (?:(?:TABLE|VIEW|TRIGGER|INDEX|FUNCTION) )?(?:IF NOT EXISTS )?([\w{}.]+)"
)
_FLIPPED = {"<>": "=", "<": "<=", "<=": "<", ">": ">=", ">=": ">"}
_ENDS = {
    "ORDER", "GROUP", "HAVING", "LIMIT", "RETURNING", "FOR", "LEFT", "JOIN", "CROSS", "WHERE", "ON", "UNION", ";",
    "THEN", "ELSE", "END", "WITH", "STRICT", ",",
}  # fmt: skip
_CONDITION = {"WHERE", "ON", "HAVING"}
_SIMPLE = {
    "DESC": "", "DISTINCT": "", "min": "max", "max": "min", "NOTHING": "", "REPLACE": "IGNORE", "LEFT": "",
    "AUTOINCREMENT": "",
}  # fmt: skip


@dataclass(frozen=True)
class _Token:
    text: str
    start: int
    end: int
    depth: int


def sql_flaws(source: str) -> list[Flaw]:
    """Every flaw that can be planted."""
    found: list[Flaw] = []
    seen: dict[str, int] = {}
    for heading, begin, end in _statements(source):
        body = source[begin:end]
        for start, stop, new in _changes(body):
            old = body[start:stop]
            name = f"{heading}: {_around(body, start, stop)}  →  {' '.join(new.split()) or 'nothing'}"
            seen[name] = seen.get(name, 0) + 1
            if seen[name] > 1:
                name += f" ({seen[name]})"
            if old.strip() == new.strip():
                raise AssertionError(name)
            line = source.count("\n", 0, begin + start) + 1
            text = source[: begin + start] + new + source[begin + stop :]
            found.append(Flaw(name, range(line, line + old.count("\n") + 1), partial(str, text)))
    return found


def _around(body: str, start: int, stop: int) -> str:
    """What is changed, and where it is short, the line it is in."""
    if stop - start > 12:
        return " ".join(body[start:stop].split())
    before, after = body.rfind("\n", 0, start) + 1, body.find("\n", stop)
    after = len(body) if after < 0 else after
    return f"{body[before:start].strip()[-40:]} «{body[start:stop]}» {body[stop:after].strip()[:40]}".strip()


def _statements(source: str) -> Iterator[tuple[str, int, int]]:
    """Heading, begin and end of each: under a line with its name, or, in a migration, up to the semicolon."""
    headings = list(_STATEMENT.finditer(source))
    if headings:
        ends = [heading.start() for heading in headings[1:]] + [len(source)]
        for heading, end in zip(headings, ends, strict=True):
            yield heading[1], source.index("\n", heading.start()) + 1, end
        return
    begin = 0
    for part in re.split(r"(?<=;)\n", source):
        text = re.sub(r"^--.*$", "", part, flags=re.MULTILINE).strip()
        made = _MADE.match(text)
        if made is not None and not re.match(r"CREATE (?:INDEX|VIEW)", text):
            yield made[1], begin, begin + len(part)
        begin += len(part) + 1


def _changes(body: str) -> Iterator[tuple[int, int, str]]:
    tokens = _tokens(body)
    yield from _conditions(tokens)
    yield from _assignments(tokens)
    yield from _clauses(tokens)
    for at, token in enumerate(tokens):
        before = tokens[at - 1].text if at else ""
        after = tokens[at + 1].text if at + 1 < len(tokens) else ""
        if token.text in {"min", "max"} and after != "(":
            continue
        if token.text == "NOTHING" or (token.text == "LEFT" and after != "JOIN"):
            continue
        if before == "=" and tokens[at - 2].text == "fillfactor":
            continue
        if token.text in _SIMPLE:
            yield token.start, token.end, _SIMPLE[token.text]
        elif token.text in {"+", "-"} and re.fullmatch(r"[\w.)]+|\d.*", before):
            yield token.start, token.end, "-" if token.text == "+" else "+"
        elif re.fullmatch(r"\d+(?:\.\d+)?", token.text):
            yield token.start, token.end, str(float(token.text) + 1) if "." in token.text else str(int(token.text) + 1)


def _tokens(body: str) -> list[_Token]:
    found: list[_Token] = []
    depth = 0
    for match in _TOKEN.finditer(body):
        text = match[0]
        if text.startswith("--"):
            continue
        depth -= text == ")"
        found.append(_Token(text, match.start(), match.end(), depth))
        depth += text == "("
    return found


def _conditions(tokens: list[_Token]) -> Iterator[tuple[int, int, str]]:
    if any(token.text == "TRIGGER" for token in tokens[:3]):
        return
    for at, token in enumerate(tokens):
        nested = token.text == "(" and at and tokens[at - 1].text in {"AND", "WHERE", "ON", "OR"}
        if token.text == "ON" and at + 1 < len(tokens) and tokens[at + 1].text == "CONFLICT":
            continue
        if token.text in _CONDITION or nested:
            inside = token.depth + 1 if nested else token.depth
            end = next(
                (n for n in range(at + 1, len(tokens)) if tokens[n].depth < inside or _ends(tokens[n], inside)),
                len(tokens),
            )
            if not nested or any(one.text in {"AND", "OR"} and one.depth == inside for one in tokens[at + 1 : end]):
                yield from _condition(tokens[at + 1 : end], inside, whole=not nested)


def _ends(token: _Token, depth: int) -> bool:
    return token.text == ";" or (token.depth == depth and token.text in _ENDS)


def _condition(tokens: list[_Token], depth: int, whole: bool) -> Iterator[tuple[int, int, str]]:
    """Comparisons turned round, one part left out, AND for OR. That an equality holds is seen when it is left out."""
    if not tokens:
        return
    first, last = tokens[0].start, tokens[-1].end
    joints = [n for n, token in enumerate(tokens) if token.depth == depth and token.text in {"AND", "OR"}]
    bounds = [-1, *joints, len(tokens)]
    parts = [tokens[a + 1 : b] for a, b in pairwise(bounds)]
    for n, part in enumerate(parts):
        if len(parts) == 1:
            if whole and tokens[0].text != "true":
                yield first, last, "1 = 1"
        elif n == 0:
            yield part[0].start, tokens[joints[0]].end, ""
        else:
            yield tokens[joints[n - 1]].start, part[-1].end, ""
    for n in joints:
        if tokens[n].text == "OR":
            yield tokens[n].start, tokens[n].end, "AND"
    yield from _comparisons([token for token in tokens if token.depth == depth])


def _comparisons(tokens: list[_Token]) -> Iterator[tuple[int, int, str]]:
    for n, token in enumerate(tokens):
        after = [one.text for one in tokens[n + 1 : n + 3]]
        if token.text in _FLIPPED:
            yield token.start, token.end, _FLIPPED[token.text]
        elif token.text == "IS" and after[:1] == ["NULL"]:
            yield token.start, token.end, "IS NOT"
        elif token.text == "IS" and after == ["NOT", "NULL"]:
            yield tokens[n + 1].start, tokens[n + 1].end, ""
        elif token.text == "NOT" and after[:1] == ["EXISTS"]:
            yield token.start, token.end, ""


def _assignments(tokens: list[_Token]) -> Iterator[tuple[int, int, str]]:
    """One of several assignments left out, of UPDATE and of ON CONFLICT."""
    for at, token in enumerate(tokens):
        if token.text != "SET":
            continue
        inside = token.depth
        end = next(
            (
                n
                for n in range(at + 1, len(tokens))
                if tokens[n].depth < inside
                or (tokens[n].depth == inside and tokens[n].text in {"WHERE", "RETURNING", ";"})
            ),
            len(tokens),
        )
        commas = [n for n in range(at + 1, end) if tokens[n].depth == inside and tokens[n].text == ","]
        if not commas:
            continue
        yield tokens[at + 1].start, tokens[commas[0]].end, ""
        for n, comma in enumerate(commas):
            stop = commas[n + 1] if n + 1 < len(commas) else end
            yield tokens[comma].start, tokens[stop - 1].end, ""


def _clauses(tokens: list[_Token]) -> Iterator[tuple[int, int, str]]:
    """What is left out whole, or does the contrary."""
    for at, token in enumerate(tokens):
        words = " ".join(one.text for one in tokens[at : at + 3])
        rest = [n for n in range(at + 1, len(tokens)) if tokens[n].depth < token.depth or tokens[n].text == ";"]
        end = rest[0] if rest else len(tokens)
        if words.startswith("ON CONFLICT"):
            do = next(n for n in range(at, end) if tokens[n].text == "DO")
            stop = next((n for n in range(do, end) if tokens[n].text == "RETURNING"), end)
            yield token.start, tokens[stop - 1].end, ""
            if tokens[do + 1].text == "UPDATE":
                yield tokens[do + 1].start, tokens[stop - 1].end, "NOTHING"
        elif words.startswith(("ORDER BY", "LIMIT", "FOR SHARE", "GROUP BY")):
            ends = {"LIMIT", "FOR", "RETURNING", "ORDER", "HAVING"}
            stop = next(
                (n for n in range(at + 1, end) if tokens[n].depth == token.depth and tokens[n].text in ends), end
            )
            yield token.start, tokens[stop - 1].end, ""
        elif words.startswith(("PRIMARY KEY (", "UNIQUE (")) or token.text == "CHECK":
            stop = next(
                n for n in range(at + 1, len(tokens)) if tokens[n].text == ")" and tokens[n].depth == token.depth
            )
            start = tokens[at - 1].start if tokens[at - 1].text == "," else token.start
            yield start, tokens[stop].end, ""
        elif token.text == "UNIQUE":
            yield token.start, token.end, ""
        elif words == "CREATE TRIGGER" or (token.text == "CREATE" and tokens[at + 1].text == "TRIGGER"):
            yield token.start, tokens[-1].end, ""
        elif token.text == "pg_advisory_xact_lock":
            yield token.start, token.end, "length"
