"""What elementwise aten operations are on scalars: one rule each, given the kind that PyTorch computes in."""

# ruff: noqa: ARG001, ARG005 - the rules share one signature
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from odebridge.integrate.engine.scalars import Program, Scalar, Unsupported


def _op(name: str) -> Callable[..., Scalar]:
    def rule(p: Program, kind: str, *args: Scalar) -> Scalar:
        return p.apply(name, *(p.cast(a, kind) for a in args))

    return rule


def _sum(name: str) -> Callable[..., Scalar]:
    def rule(p: Program, kind: str, a: Scalar, b: Scalar, alpha: Any = 1) -> Scalar:
        return p.apply(name, p.cast(a, kind), p.apply("mul", p.const(alpha, kind), p.cast(b, kind)))

    return rule


def _pow(p: Program, kind: str, a: Scalar, b: Scalar) -> Scalar:
    a, b = p.cast(a, kind), p.cast(b, kind)
    if b.op == "const":
        e = float(b.value)
        if e == 0.5:
            return p.apply("sqrt", a)
        if e == int(e) and 0 < abs(e) <= 16:
            out, square, n = None, a, int(abs(e))
            while n:
                if n & 1:
                    out = square if out is None else p.apply("mul", out, square)
                n >>= 1
                square = p.apply("mul", square, square) if n else square
            assert out is not None
            return out if e > 0 else p.apply("div", p.const(1, kind), out)
    return p.apply("pow", a, b)


def _where(p: Program, kind: str, m: Scalar, a: Scalar, b: Scalar) -> Scalar:
    return p.apply("where", p.cast(m, "b"), p.cast(a, kind), p.cast(b, kind))


def _clamp(p: Program, kind: str, a: Scalar, low: Any = None, high: Any = None, **more: Any) -> Scalar:
    low, high = more.get("min", low), more.get("max", high)
    a = p.cast(a, kind)
    for bound, op in ((low, "max"), (high, "min")):
        if bound is not None:
            a = p.apply(op, a, p.cast(bound if isinstance(bound, Scalar) else p.const(bound, kind), kind))
    return a


def _not(p: Program, kind: str, a: Scalar) -> Scalar:
    return p.apply("not", p.cast(a, "b"))


def _unary(f: Callable[[Program, Scalar], Scalar]) -> Callable[..., Scalar]:
    return lambda p, kind, a, **_: f(p, p.cast(a, kind))


def _one(p: Program, a: Scalar, v: float = 1.0) -> Scalar:
    return p.const(v, a.kind)


def _sigmoid(p: Program, a: Scalar) -> Scalar:
    return p.apply("div", _one(p, a), p.apply("add", _one(p, a), p.apply("exp", p.apply("neg", a))))


def _fmod(p: Program, kind: str, a: Scalar, b: Scalar) -> Scalar:
    """Remainder with the sign of the divisor."""
    a, b = p.cast(a, kind), p.cast(b, kind)
    r = p.apply("fmod", a, b)
    zero = p.const(0, kind)
    other = p.apply("xor", p.apply("lt", r, zero), p.apply("lt", b, zero))
    return p.apply("where", p.apply("and", other, p.apply("ne", r, zero)), p.apply("add", r, b), r)


def _div(p: Program, kind: str, a: Scalar, b: Scalar, rounding_mode: str | None = None) -> Scalar:
    if kind not in ("f64", "f32"):
        raise Unsupported("it divides integers")
    out = p.apply("div", p.cast(a, kind), p.cast(b, kind))
    return out if rounding_mode is None else p.apply(rounding_mode, out)


def _isinf(p: Program, kind: str, a: Scalar) -> Scalar:
    return p.apply("eq", p.apply("abs", a), p.const(math.inf, a.kind))


def _gelu(p: Program, a: Scalar) -> Scalar:
    inner = p.apply("add", _one(p, a), p.apply("erf", p.apply("mul", a, _one(p, a, math.sqrt(0.5)))))
    return p.apply("mul", p.apply("mul", a, _one(p, a, 0.5)), inner)


COMPARED = {"eq", "ne", "lt", "le", "gt", "ge", "isnan"}
ELEMENTWISE: dict[str, Callable[..., Scalar]] = {
    **{n: _op(n) for n in ("mul", "neg", "abs", "sqrt", "exp", "log", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
                           "cosh", "tanh", "expm1", "log1p", "erf", "floor", "ceil", "round", "trunc", "sign", "atan2", "fmod",
                           "eq", "ne", "lt", "le", "gt", "ge")},
    "add": _sum("add"), "sub": _sum("sub"), "rsub": lambda p, kind, a, b, alpha=1: _sum("sub")(p, kind, b, a, alpha),
    "div": _div, "pow": _pow, "where": _where, "clamp": _clamp, "remainder": _fmod, "maximum": _op("max"),
    "minimum": _op("min"),
    "clamp_min": lambda p, k, a, b: _clamp(p, k, a, b), "clamp_max": lambda p, k, a, b: _clamp(p, k, a, None, b),
    "relu": _unary(lambda p, a: p.apply("max", a, _one(p, a, 0.0))), "sigmoid": _unary(_sigmoid),
    "silu": _unary(lambda p, a: p.apply("mul", a, _sigmoid(p, a))), "gelu": _unary(_gelu),
    "reciprocal": _unary(lambda p, a: p.apply("div", _one(p, a), a)),
    "rsqrt": _unary(lambda p, a: p.apply("div", _one(p, a), p.apply("sqrt", a))),
    "log2": _unary(lambda p, a: p.apply("mul", p.apply("log", a), _one(p, a, 1.0 / math.log(2.0)))),
    "log10": _unary(lambda p, a: p.apply("mul", p.apply("log", a), _one(p, a, 1.0 / math.log(10.0)))),
    "exp2": _unary(lambda p, a: p.apply("exp", p.apply("mul", a, _one(p, a, math.log(2.0))))),
    "square": _unary(lambda p, a: p.apply("mul", a, a)),
    "logical_not": _not, "bitwise_not": _not,
    **{f"{how}_{n}": _op(n) for n in ("and", "or", "xor") for how in ("bitwise", "logical")},
    "isnan": lambda p, k, a: p.apply("ne", a, a), "isinf": _isinf,
    "_to_copy": lambda p, k, a, **_: p.cast(a, k), "clone": lambda p, k, a, **_: p.cast(a, k),
    "copy": lambda p, k, a, b, *_, **__: p.cast(b, k), "alias": lambda p, k, a: a, "detach": lambda p, k, a: a,
    "lift_fresh_copy": lambda p, k, a: a, "convert_element_type": lambda p, k, a, dtype: p.cast(a, k),
    "fill": lambda p, k, a, b: p.cast(b, k),
}  # fmt: skip
