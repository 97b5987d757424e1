"""Calls inside a kernel: the user's functions, their derivatives, LU and Newton, as scalars of the try's program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from odebridge.integrate.engine.emit import TYPES
from odebridge.integrate.engine.lowering import Array
from odebridge.integrate.engine.scalars import Program, Scalar


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

    def items(call: Scalar, shape: Sequence[int], count: int) -> Array:
        out = np.empty(count, dtype=object)
        out[:] = [p.make("item", (call,), kind, f"[{i}]") for i in range(count)]
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

    def solve(factors: Array, rhs: Array) -> Array:
        return items(p.make("call", (factors[0], *cast(rhs)), kind, Call("solve", kind, n)), rhs.shape, n)

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
            factors[0],
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
        "solve": solve,
        "newton": newton,
    }
