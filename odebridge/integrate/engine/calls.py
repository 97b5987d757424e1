"""Calls inside a kernel: the user's functions, their derivatives, LU and Newton, as scalars of the try's program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from odebridge.integrate.engine.emit import TYPES
from odebridge.integrate.engine.lowering import Array
from odebridge.integrate.engine.scalars import Program, Scalar

PLACE = "held"  # what stays in the kernel's memory, and is passed on by the program without being read


@dataclass(frozen=True)
class Call:
    """A statement that calls a function of the kernel, as `emit.Writer` writes it."""

    name: str
    kind: str
    count: int

    def statement(self, a: list[str], out: str) -> str:
        """The C++ of it; `out` names its results."""
        t = TYPES[self.kind]
        if self.name == "factor":
            n = self.count
            fill = " ".join(f"{out}.lu[{i // n}][{i % n}] = {v};" for i, v in enumerate(a))
            return f"Factors<{t}, {n}> {out}; {fill} factor({out});"
        if self.name == "solve":
            return f"{t} {out}[{self.count}] = {{{', '.join(a[1:])}}}; solve({a[0]}, {out});"
        if self.name == "renew":
            x = ", ".join(a[5 : 5 + self.count])
            return f"const {t} x_{out}[] = {{{x}}}; const Held {out} = renew(m, {', '.join(a[:5])}, x_{out}, s, U, C);"
        if self.name == "newton":
            return _newton(a, out, t, self.count)
        if self.name == "after":
            return f"{t} {out}[{self.count}]; {{ const {t} x[] = {{{', '.join(a)}}}; after(vd(0), x, s, U, C, {out}); }}"
        return (
            f"{t} {out}[{max(self.count, 1)}]; {{ const {t} x[] = {{{', '.join(a[1:])}}}; "
            f"{self.name}({a[0]}, x, s, U, C, {out}); }}"
        )


def _newton(a: list[str], out: str, t: str, n: int) -> str:
    """Arguments: moment, factors, rate, active, limit, then n each of x, known, per, damp, z and weights."""
    parts = [a[5 + i * n : 5 + (i + 1) * n] for i in range(6)]
    arrays = " ".join(
        f"const {t} {q}[] = {{{', '.join(p)}}};" for q, p in zip(("x", "k", "p", "d", "z", "w"), parts, strict=True)
    )
    return f"Newton<{t}, {n}> {out}; {{ {arrays} newton({', '.join([out, *a[:5]])}, x, k, p, d, z, w, s, U, C); }}"


def holes(p: Program, kind: str, n: int, structure: Array, given_jacobian: bool) -> dict[str, Callable[..., Any]]:
    """What `traced.HOLES` stand for: calls of the kernel's functions on scalars of p.

    structure: df/dx by rows and df/dt, 0 where it is 0 by structure, else None; given_jacobian: df/dx is the user's.
    """

    def items(call: Scalar, shape: Sequence[int], count: int, of: str = "", kind: str = kind) -> Array:
        out = np.empty(count, dtype=object)
        out[:] = [p.make("item", (call,), kind, f"{of}[{i}]") for i in range(count)]
        return out.reshape(tuple(shape))

    def cast(a: Array, to: str = kind) -> list[Scalar]:
        return [p.cast(v, to) for v in a.reshape(-1)]

    def function(t: Array, x: Array) -> Array:
        return items(p.make("call", (*cast(t, "f64"), *cast(x)), kind, Call("field", kind, n)), x.shape, n)

    def after(x: Array) -> Array:
        return items(p.make("call", tuple(cast(x)), kind, Call("after", kind, n)), x.shape, n)

    def differentiate(t: Array, x: Array) -> tuple[Array, Array]:
        given, found = (*cast(t, "f64"), *cast(x)), []
        split = n * n if given_jacobian else 0
        for name, part in (("jacobian", structure[:split]), ("slopes", structure[split:])):
            count = sum(v is None for v in part)
            if not len(part):
                continue
            call = iter(items(p.make("call", given, kind, Call(name, kind, count)), (count,), count)) if count else iter(())
            found += [next(call) if v is None else p.const(0, kind) for v in part]
        out = np.empty(n * n + n, dtype=object)
        out[:] = found
        return out[: n * n].reshape(1, n, n), out[n * n :].reshape(x.shape)

    def factor(jac: Array, shift: Array) -> tuple[Array, Array]:
        (s,), entries = cast(shift), []
        for i in range(n):
            for j in range(n):
                entries.append(p.apply("sub", s, jac[0, i, j]) if i == j else p.apply("neg", jac[0, i, j]))
        call = p.make("call", tuple(entries), kind, Call("factor", kind, n))
        singular = np.empty(1, dtype=object)
        singular[0] = p.make("item", (call,), "b", ".singular")
        handle = np.empty(1, dtype=object)
        handle[0] = call
        return handle, singular

    def renew(
        t: Array, x: Array, shift: Array, jac: Array, lu: Array, rows: Array, singular: Array, anew: Array, moved: Array
    ) -> tuple[Array, ...]:
        """J and factors stay where they are; what the program passes on are their places. `lu` says what came before."""
        given = (*cast(t, "f64"), *cast(shift), *cast(singular, "b"), *cast(anew, "b"), *cast(moved, "b"), *cast(x))
        before = lu.reshape(-1)[0].args  # of the first one: nothing
        call = p.make("call", given + before, kind, Call("renew", kind, n))
        one = np.empty(1, dtype=object)
        one[0] = p.make("item", (call,), "b", ".singular")
        places = (items(call, a.shape, a.size, PLACE, a.reshape(-1)[0].kind) for a in (jac, lu, rows))
        return (*places, one)

    def instead(mask: Array, new: Array, old: Array) -> Array:
        out, (on,) = np.empty(old.shape, dtype=object), mask.reshape(-1)
        for i, (a, b) in enumerate(zip(new.reshape(-1), old.reshape(-1), strict=True)):
            out.reshape(-1)[i] = b if a is b else p.make("instead", (on, p.cast(a, b.kind), b), b.kind)
        return out

    def handle(factors: Array) -> Scalar:
        """The factors as one thing, wherever they are kept."""
        first = factors.reshape(-1)[0]
        return first if first.op == "call" else p.make("item", first.args, kind, ".m.f")

    def solve(factors: Array, rhs: Array) -> Array:
        return items(p.make("call", (handle(factors), *cast(rhs)), kind, Call("solve", kind, n)), rhs.shape, n)

    def newton(
        t: Any,
        x: Any,
        known: Any,
        per: Any,
        damp: Any,
        factors: Any,
        z: Any,
        weights: Any,
        rate: Any,
        active: Any,
        limit: int,
    ) -> Any:
        wide = [cast(np.broadcast_to(v, x.shape)) for v in (x, known, per, damp, z, weights)]
        given = (
            *cast(t, "f64"),
            handle(factors),
            *cast(rate, "f64"),
            *cast(active, "b"),
            p.const(limit, "i64"),
            *(v for w in wide for v in w),
        )
        call = p.make("call", given, kind, Call("newton", kind, n))
        out = np.empty(n, dtype=object)
        out[:] = [p.make("item", (call,), kind, f".z[{i}]") for i in range(n)]
        rest = []
        for name, k in (("converged", "b"), ("iterations", "i64"), ("rate", "f64"), ("theta", "f64")):
            one = np.empty(1, dtype=object)
            one[0] = p.make("item", (call,), k, f".{name}")
            rest.append(one)
        return (out.reshape(x.shape), *rest)

    return {
        "field": function,
        "after": after,
        "differentiate": differentiate,
        "factor": factor,
        "renew": renew,
        "instead": instead,
        "solve": solve,
        "newton": newton,
    }
