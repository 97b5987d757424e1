"""Mutants of a source file: the same file with one thing wrong. No solver and no test is known here; `mutation.py` tries them.

What is changed: comparisons (boundary and opposite), arithmetic, `and` and `or`, `not`, signs, numbers (one more), True and
False, min and max and their like, conditions (the opposite), statements and arguments with a name (left out), returned values
(None). What is not: strings, what is said when an error is raised, annotations, code for type checkers alone, the looks of a
picture (widths, sizes, shades).
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}  # fmt: skip
COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult, ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult, ast.MatMult: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
LIKE = dict(pair for a, b in (("min", "max"), ("any", "all"), ("minimum", "maximum"), ("clamp_min", "clamp_max"))
            for pair in ((a, b), (b, a)))  # fmt: skip
UNSEEN = {"annotation", "returns", "type_params"}  # fields of nodes that nothing runs
LOOKS = {
    "alpha",
    "color",
    "edgecolor",
    "figsize",
    "fontsize",
    "framealpha",
    "frameon",
    "layout",
    "lw",
    "ms",
    "ncols",
}  # keywords
SIMPLE = (ast.Assign, ast.AugAssign, ast.Return, ast.Raise, ast.Break, ast.Continue, ast.Expr)
WIDTH = 40  # characters shown on both sides of what differs


@dataclass(frozen=True)
class Mutant:
    """One change, in words that stay the same when lines move, and the code that it makes of the module."""

    name: str
    line: int
    code: CodeType


def mutants(source: str, filename: str) -> Iterator[Mutant]:
    """All mutants of a module, in the order of its text."""
    tree = ast.parse(source)
    before = ast.unparse(tree)
    named: Counter[str] = Counter()
    for place, owner, field, index, new in _edits(tree, "", False):
        held = getattr(owner, field)
        old = held if index is None else held[index]
        _put(owner, field, index, ast.copy_location(new, old))
        after = ast.unparse(tree)
        if after != before:  # -1 may be written as a number or as a sign and a number
            name = f"{place}: {_difference(before, after)}"
            named[name] += 1
            name += f" ({named[name]})" if named[name] > 1 else ""
            yield Mutant(name, old.lineno, compile(ast.fix_missing_locations(tree), filename, "exec"))
        _put(owner, field, index, old)


def _put(owner: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(owner, field, node)
    else:
        getattr(owner, field)[index] = node


def _difference(before: str, after: str) -> str:
    """The first line that differs, cut down to what is around the difference."""
    lines = zip(before.splitlines(), after.splitlines(), strict=False)
    a, b = next(((x.strip(), y.strip()) for x, y in lines if x != y), ("", "nothing"))
    if b == "pass":
        return f"left out: {a[: 2 * WIDTH]}"
    same = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    tail = next((i for i, (x, y) in enumerate(zip(a[:same - 1:-1], b[:same - 1:-1], strict=False)) if x != y), 0)  # fmt: skip
    start = max(0, same - WIDTH)
    return f"{a[start : len(a) - tail + WIDTH]}  ->  {b[start : len(b) - tail + WIDTH]}"


Edit = tuple[str, ast.AST, str, int | None, ast.AST]


def _edits(node: ast.AST, place: str, inside: bool) -> Iterator[Edit]:
    """(where, owner, field, index, new node) for every change below a node; inside: of a function."""
    for field, value in ast.iter_fields(node):
        if field in UNSEEN or (isinstance(node, ast.Raise) and field in ("exc", "cause")):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or _nobodys(child):
                continue
            for new in _changed(child, field, inside):
                yield place or "module", node, field, index, new
            defines = isinstance(child, (ast.FunctionDef, ast.ClassDef))
            below = f"{place}.{child.name}".lstrip(".") if defines else place
            yield from _edits(child, below, inside or isinstance(child, ast.FunctionDef))


def _nobodys(node: ast.AST) -> bool:
    """What no test should pin: code for type checkers, the looks of a picture."""
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return isinstance(node, ast.keyword) and node.arg in LOOKS


def _changed(node: Any, field: str, inside: bool) -> Iterator[ast.AST]:
    """What may stand in the place of a node."""
    if isinstance(node, SIMPLE):
        yield from _statements(node, inside)
    elif isinstance(node, ast.Compare):
        for i, op in enumerate(node.ops):
            for other in COMPARED[type(op)]:
                yield ast.Compare(node.left, [*node.ops[:i], other(), *node.ops[i + 1 :]], node.comparators)
    elif isinstance(node, ast.BinOp) and type(node.op) in COMPUTED:
        yield ast.BinOp(node.left, COMPUTED[type(node.op)](), node.right)
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)):
        yield ast.Constant(not node.value if isinstance(node.value, bool) else node.value + 1)
    elif isinstance(node, ast.Name) and node.id in LIKE:
        yield ast.Name(LIKE[node.id], node.ctx)
    elif isinstance(node, ast.Attribute) and node.attr in LIKE:
        yield ast.Attribute(node.value, LIKE[node.attr], node.ctx)
    elif isinstance(node, ast.Call):
        for i, word in enumerate(node.keywords):
            if word.arg and not _nobodys(word):
                yield ast.Call(node.func, node.args, [*node.keywords[:i], *node.keywords[i + 1 :]])
    if field in ("test", "ifs") and not isinstance(node, (ast.Compare, ast.UnaryOp)):
        yield ast.UnaryOp(ast.Not(), node)


def _statements(node: Any, inside: bool) -> Iterator[ast.stmt]:
    if isinstance(node, ast.Return) and node.value is not None:
        if not (isinstance(node.value, ast.Constant) and node.value.value is None):
            yield ast.Return(ast.Constant(None))
    elif isinstance(node, ast.AugAssign):
        yield ast.Pass()
        if type(node.op) in COMPUTED:
            yield ast.AugAssign(node.target, COMPUTED[type(node.op)](), node.value)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring, or the dots of a protocol
    elif inside or not isinstance(node, ast.Assign):
        yield ast.Pass()
