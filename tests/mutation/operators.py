"""Which flaws can be planted in a source text, and the text with one of them in it. Imports nothing of inorder."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Pow: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
    ast.RShift: ast.LShift,
    ast.LShift: ast.RShift,
}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
_LEFT_ALONE = {"__repr__", "__hash__", "__slots__"}


@dataclass(frozen=True)
class Flaw:
    """One change. `name` says where and what, and stays the same when lines move. `lines` are those it changes."""

    name: str
    lines: range
    made: Callable[[], str] = dataclasses.field(compare=False)

    @property
    def text(self) -> str:
        """The whole text that has it."""
        return self.made()


def flaws(source: str) -> list[Flaw]:
    """Every flaw that can be planted."""
    tree = ast.parse(source)

    def made(parent: ast.AST, field: str, at: int | None, changed: ast.AST) -> str:
        before = _get(parent, field, at)
        _set(parent, field, at, changed)
        text = ast.unparse(ast.fix_missing_locations(tree))
        _set(parent, field, at, before)
        return text

    found: list[Flaw] = []
    seen: dict[str, int] = {}
    for where, parent, place, at, changed in _changes(tree, ""):
        before = _get(parent, place, at)
        assert isinstance(before, ast.expr | ast.stmt)
        name = f"{where}: {_short(before)}  →  {_short(changed)}"
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            name += f" ({seen[name]})"
        found.append(Flaw(name, _lines(before), partial(made, parent, place, at, changed)))
    return found


def _lines(node: ast.expr | ast.stmt) -> range:
    last = node.test if isinstance(node, ast.If) else node
    return range(node.lineno, (last.end_lineno or last.lineno) + 1)


Change = tuple[str, ast.AST, str, int | None, ast.AST]


def _changes(node: ast.AST, where: str) -> Iterator[Change]:
    """Where, the parent, the field and the place in it of what is replaced, and what by."""
    for field, value in ast.iter_fields(node):
        if field in {"annotation", "returns", "decorator_list", "type_comment", "bases", "keywords"} and not isinstance(
            node, ast.Call
        ):
            continue
        children = enumerate(value) if isinstance(value, list) else [(None, value)]
        for at, child in children:
            if not isinstance(child, ast.AST) or _is_left_alone(child):
                continue
            inside = where
            if isinstance(child, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                inside = f"{where}.{child.name}" if where else child.name
            for changed in _instead(child, node, field):
                yield inside or "module", node, field, at, changed
            yield from _changes(child, inside)


def _is_left_alone(node: ast.AST) -> bool:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        bases = [ast.unparse(base) for base in node.bases] if isinstance(node, ast.ClassDef) else []
        return node.name in _LEFT_ALONE or "Protocol" in bases
    if isinstance(node, ast.Assign):
        return any(isinstance(target, ast.Name) and target.id in _LEFT_ALONE for target in node.targets)
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Import | ast.ImportFrom | ast.JoinedStr)


def _instead(node: ast.AST, parent: ast.AST, field: str) -> Iterator[ast.AST]:  # noqa: PLR0912
    match node:
        case ast.Compare(left, [op], [right]):
            yield ast.Compare(left, [_COMPARISONS[type(op)]()], [right])
        case ast.BoolOp(op, values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            for at in range(len(values)):
                rest = values[:at] + values[at + 1 :]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(op, rest)
        case ast.UnaryOp(ast.Not(), operand):
            yield operand
        case ast.UnaryOp(ast.USub(), operand):
            yield operand
        case ast.BinOp(left, op, right) if type(op) in _ARITHMETIC:
            yield ast.BinOp(left, _ARITHMETIC[type(op)](), right)
        case ast.AugAssign(target, op, value):
            yield ast.AugAssign(target, _ARITHMETIC[type(op)](), value)
            yield ast.Pass()
        case ast.Constant(bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(int() | float() as value) if not isinstance(value, bool):
            yield ast.Constant(value + 1)
        case ast.IfExp(test, body, orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.Name(name, ast.Load()) if name in _NAMES and isinstance(parent, ast.Call) and field == "func":
            yield ast.Name(_NAMES[name], ast.Load())
        case ast.If(test, body, orelse) if not isinstance(test, ast.Compare | ast.BoolOp) and not _is_not(test):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.Expr(ast.Call()) | ast.Delete() | ast.Raise():
            yield ast.Pass()
        case ast.Assign(targets) if not any(isinstance(target, ast.Name | ast.Tuple) for target in targets):
            yield ast.Pass()
        case ast.Return(value) if value is not None and not (isinstance(value, ast.Constant) and value.value is None):
            if isinstance(value, ast.Name | ast.Call | ast.Attribute):
                yield ast.Return(ast.Constant(None))
        case ast.Continue():
            yield ast.Break()
        case ast.Break():
            yield ast.Continue()
        case _:
            pass


def _is_not(test: ast.expr) -> bool:
    return isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)


def _get(parent: ast.AST, field: str, at: int | None) -> ast.AST:
    value = getattr(parent, field)
    found: ast.AST = value if at is None else value[at]
    return found


def _set(parent: ast.AST, field: str, at: int | None, value: ast.AST) -> None:
    if at is None:
        setattr(parent, field, value)
    else:
        getattr(parent, field)[at] = value


def _short(node: ast.AST) -> str:
    if isinstance(node, ast.If):
        return f"if {ast.unparse(node.test)}"
    return " ".join(ast.unparse(node).split())[:120]
