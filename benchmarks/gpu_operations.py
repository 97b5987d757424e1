"""Float64 operations of one try of a kernel, counted in its own text.

Each + - * / between floating-point numbers of a statement is one; a square root, exponential, logarithm or power is CALL.
Comparisons, choices, signs and integers are none. Called functions count with their own statements: field and derivatives
as they are written, LU of n rows n divisions, n (n - 1) / 2 products, the updates and 2 n^2 checks, a solve 2 n^2 - n. What
DIRK methods do now and then (a Jacobian, factors, an iteration of Newton) counts as often as the statistics of a solve say.
"""

from __future__ import annotations

import re
import time
from typing import Any

import odebridge as ob
from odebridge.integrate.engine import refuse

CALL = 20
INFIX, LONG = re.compile(r" [-+*/] "), re.compile(r"\bv(?:exp|log|sqrt|pow)\(")


def lu(n: int) -> int:
    """Factors of one matrix."""
    return n + n * (n - 1) // 2 + sum(2 * k * k for k in range(n)) + 2 * n * n


def solved(n: int) -> int:
    """One right-hand side."""
    return 2 * n * n - n


def plain(line: str) -> int:
    """Of one statement, without what it calls."""
    if line.lstrip().startswith(("const I ", "const J ", "INL ")):
        return 0
    return len(INFIX.findall(line)) + CALL * len(LONG.findall(line))


def of_text(text: Any, per_try: dict[str, float]) -> float:
    """Of a try; per_try: Jacobians, factorisations and Newton iterations of one."""
    n, body = text.n, "\n".join(text.statements)
    own = {re.findall(r" (\w+)\(", f)[0]: sum(map(plain, f.splitlines())) for f in text.functions}
    total = sum(map(plain, text.statements))
    for name, each in (own | {"factor": lu(n), "solve": solved(n)}).items():
        total += each * len(re.findall(rf"\b{name}\(", body))
    if text.newton:  # by rows: y, r (3), damping, q, q * q and its sum, z; by iteration: the size, the rate and the tests
        iteration = own["field"] + solved(n) + 9 * n + CALL + 12
        calls = len(re.findall(r"\bnewton\(", body))
        total += calls * (2 * CALL + n + 4) + per_try["newton_iterations"] * iteration
        total += per_try["jacobians"] * own.get("slopes", 0) + per_try["factorisations"] * (lu(n) + n * n)
    return float(total)


def operations(given: dict[str, Any]) -> dict[str, float]:
    """Solve once, compiled: operations of a try, what NVRTC made of the kernel where it did, and the seconds of all that.

    given: the arguments of `integrate`.
    """
    bounds: list[Any] = []
    made = refuse.bound_kernel

    def noted(*arguments: Any) -> Any:
        bounds.append(made(*arguments))
        return bounds[-1]

    refuse.bound_kernel = noted
    began = time.perf_counter()
    try:
        sol = ob.integrate(**given, compile=True)
    finally:
        refuse.bound_kernel = made
    first = time.perf_counter() - began
    tries = float((sol.stats.accepted + sol.stats.rejected).sum())
    names = ("jacobians", "factorisations", "newton_iterations")
    per_try = {name: float(getattr(sol.stats, name).sum()) / tries for name in names}
    kernel = bounds[-1].kernel
    needs = next((f.needs() | {"resident_blocks": f.resident} for f in kernel.runs.values() if hasattr(f, "needs")), {})
    statements = len(kernel.source.text.statements)
    return {
        "operations": of_text(kernel.source.text, per_try),
        "statements": statements,
        "first_of_all": first,
        **per_try,
        **needs,
    }
