"""Arithmetic on numbers that are not known yet: the straight-line program of one trajectory, as a graph of scalars."""

# ruff: noqa: ARG005 - the rules share one signature
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

REAL = ("f64", "f32")


class Unsupported(Exception):
    """Something that the kernel generator cannot express; the message says what, for the sentence the user reads."""


class Scalar:
    """One number of one trajectory. Equal numbers are the same object (see `Program.make`)."""

    __slots__ = ("args", "kind", "number", "op", "value")

    def __init__(self, op: str, args: tuple[Scalar, ...], kind: str, value: Any, number: int) -> None:
        self.op, self.args, self.kind, self.value, self.number = op, args, kind, value, number


FOLDED: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "neg": lambda a: -a,
    "abs": abs, "max": max, "min": min, "eq": lambda a, b: a == b, "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b, "le": lambda a, b: a <= b, "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b,
    "fmod": lambda a, b: type(a)(math.fmod(a, b)), "and": lambda a, b: a & b, "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
}  # fmt: skip


@dataclass
class Program:
    """Makes scalars, each once, and simplifies as it goes: x + 0, x 1, x / 1, and x 0 = 0 where the 0 is written, not computed.

    The last rule is what makes unit tangents cheap: a derivative has the structure of the field and no more.
    """

    known: dict[Any, Scalar] = field(default_factory=dict)

    def make(self, op: str, args: tuple[Scalar, ...], kind: str, value: Any = None) -> Scalar:
        """The scalar op(args), the one made before if there is one."""
        key = (op, tuple(id(a) for a in args), kind, repr(value))
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = Scalar(op, args, kind, value, len(self.known))
        return found

    def const(self, value: Any, kind: str) -> Scalar:
        """A number that is written in the program."""
        value = {"b": bool, "i64": int, "f64": float, "f32": lambda v: float(np.float32(v))}[kind](value)
        return self.make("const", (), kind, value)

    def cast(self, a: Scalar, kind: str) -> Scalar:
        """The same number as another kind."""
        if a.kind == kind:
            return a
        if a.op == "const" and not (kind == "i64" and isinstance(a.value, float) and not math.isfinite(a.value)):
            return self.const(a.value, kind)
        if kind == "b":
            return self.apply("ne", a, self.const(0, a.kind))
        return self.make("cast", (a,), kind)

    def apply(self, op: str, *args: Scalar) -> Scalar:
        """An elementwise operation on scalars of one kind."""
        if args[-1].kind == "b":  # as PyTorch's bools: products are "and", sums "or"
            op = {"mul": "and", "add": "or", "min": "and", "max": "or"}.get(op, op)
        kind = "b" if op in ("eq", "ne", "lt", "le", "gt", "ge") else args[-1].kind
        if all(a.op == "const" for a in args):
            values = [a.value for a in args]
            if op == "div" and values[1] != 0:
                return self.const(values[0] / values[1], kind)
            if op in FOLDED and all(isinstance(v, (bool, int)) or math.isfinite(v) for v in values):
                return self.const(FOLDED[op](*values), kind)
        simple = self._simple(op, args)
        return self.make(op, args, kind) if simple is None else simple

    def _simple(self, op: str, args: tuple[Scalar, ...]) -> Scalar | None:
        zero, one = ([a.op == "const" and a.value == v and a.kind != "b" for a in args] for v in (0, 1))
        a, b = args[0], args[-1]
        if op == "add":
            return b if zero[0] else a if zero[1] else None
        if op == "sub":
            return a if zero[1] else self.apply("neg", b) if zero[0] else None
        if op == "mul":
            return b if one[0] else a if one[1] else a if zero[0] else b if zero[1] else None
        if op == "div":
            return a if one[1] or zero[0] else None
        if op == "neg":
            return a.args[0] if a.op == "neg" else None
        if op == "where":
            if a.op == "const":
                return args[1] if a.value else args[2]
            return args[1] if args[1] is args[2] else None
        if op in ("and", "or"):
            for this, other in ((a, b), (b, a)):
                if this.op == "const":
                    return other if this.value == (op == "and") else this
            return a if a is b else None
        if op == "not":
            return self.const(not a.value, "b") if a.op == "const" else a.args[0] if a.op == "not" else None
        return None


def reachable(outputs: list[Scalar], args: Callable[[Scalar], tuple[Scalar, ...]] = lambda s: s.args) -> list[Scalar]:
    """Everything that the outputs need, operands first."""
    order: list[Scalar] = []
    seen: set[int] = set()
    stack = [(s, False) for s in reversed(outputs)]
    while stack:
        s, ready = stack.pop()
        if ready:
            order.append(s)
        elif id(s) not in seen:
            seen.add(id(s))
            stack.append((s, True))
            stack += [(a, False) for a in reversed(args(s))]
    return order


RULES: dict[str, Callable[..., Any]] = {
    # d op(a, ...) / d a, one rule for every operand, in the names of `Program.apply` by way of `_Sugar`
    "neg": lambda p, s, a: [p.num(-1.0, a)],
    "sqrt": lambda p, s, a: [p("div", p.num(0.5, a), s)],
    "exp": lambda p, s, a: [s],
    "log": lambda p, s, a: [p("div", p.num(1.0, a), a)],
    "sin": lambda p, s, a: [p("cos", a)],
    "cos": lambda p, s, a: [p("neg", p("sin", a))],
    "tan": lambda p, s, a: [p("add", p.num(1.0, a), p("mul", s, s))],
    "tanh": lambda p, s, a: [p("sub", p.num(1.0, a), p("mul", s, s))],
    "sinh": lambda p, s, a: [p("cosh", a)],
    "cosh": lambda p, s, a: [p("sinh", a)],
    "expm1": lambda p, s, a: [p("add", s, p.num(1.0, a))],
    "log1p": lambda p, s, a: [p("div", p.num(1.0, a), p("add", a, p.num(1.0, a)))],
    "atan": lambda p, s, a: [p("div", p.num(1.0, a), p("add", p("mul", a, a), p.num(1.0, a)))],
    "asin": lambda p, s, a: [p("div", p.num(1.0, a), p("sqrt", p("sub", p.num(1.0, a), p("mul", a, a))))],
    "acos": lambda p, s, a: [p("div", p.num(-1.0, a), p("sqrt", p("sub", p.num(1.0, a), p("mul", a, a))))],
    "erf": lambda p, s, a: [p("mul", p.num(2.0 / math.sqrt(math.pi), a), p("exp", p("neg", p("mul", a, a))))],
    "abs": lambda p, s, a: [p("sign", a)],
    "fmod": lambda p, s, a, b: [p.num(1.0, a), p("neg", p("trunc", p("div", a, b)))],
    "mul": lambda p, s, a, b: [b, a],
    "div": lambda p, s, a, b: [p("div", p.num(1.0, b), b), p("neg", p("div", s, b))],
}  # fmt: skip
FLAT = ("const", "floor", "ceil", "round", "trunc", "sign", "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "xor", "not")


@dataclass
class _Sugar:
    program: Program

    def __call__(self, op: str, *args: Scalar) -> Scalar:
        return self.program.apply(op, *args)

    def num(self, value: float, like: Scalar) -> Scalar:
        return self.program.const(value, like.kind)


def derivative(program: Program, outputs: list[Scalar], by: Scalar) -> list[Scalar]:
    """D outputs / d by, in forward mode: sparse by construction, since what does not depend on `by` is the constant 0.

    Where PyTorch splits a tie of max or min in two halves, the derivative here is that of the first operand. Unsupported for
    an operation without a rule.
    """
    sugar = _Sugar(program)
    tangents: dict[int, Scalar] = {}
    for s in reachable(outputs):
        tangents[id(s)] = _tangent(sugar, s, [tangents[id(a)] for a in s.args], by)
    return [tangents[id(s)] for s in outputs]


def _tangent(p: _Sugar, s: Scalar, ds: list[Scalar], by: Scalar) -> Scalar:
    zero = p.program.const(0, s.kind)
    if s is by:
        return p.num(1.0, s)
    if s.kind not in REAL or s.op in FLAT or all(d.op == "const" and d.value == 0 for d in ds):
        return zero
    a = s.args
    if s.op in ("add", "sub"):
        return p(s.op, *ds)
    if s.op == "cast":
        return p.program.cast(ds[0], s.kind)
    if s.op == "where":
        return p("where", a[0], ds[1], ds[2])
    if s.op in ("max", "min"):
        return p("where", p("ge" if s.op == "max" else "le", a[0], a[1]), ds[0], ds[1])
    if s.op == "pow":
        grown = p("mul", p("mul", a[1], p("pow", a[0], p("sub", a[1], p.num(1.0, s)))), ds[0])
        return grown if ds[1].op == "const" else p("add", grown, p("mul", p("mul", s, p("log", a[0])), ds[1]))
    if s.op not in RULES:
        raise Unsupported(f"the kernel generator does not know the derivative of {s.op}")
    total = zero
    for rule, d in zip(RULES[s.op](p, s, *a), ds, strict=True):
        total = p("add", total, p("mul", rule, d))
    return total
