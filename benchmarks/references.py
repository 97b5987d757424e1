"""End states of Lotka-Volterra and Lorenz by Taylor series in 30-digit arithmetic, beside the references of the library.

Claim: the two references that are no published ones are good to 15 digits. Command: python benchmarks/references.py
(10 s on one core; mpmath comes with PyTorch). The fields are the library's own, run on multi-precision numbers.
"""

from __future__ import annotations

import mpmath

from odebridge.problems import problem
from odebridge.problems.componentwise import Field


def end_state(name: str, digits: int = 30) -> list[mpmath.mpf]:
    """State at the end of the span."""
    task = problem(name)
    if not isinstance(task.field, Field):
        raise TypeError(f"{name}: its field runs on tensors only.")
    terms = task.field.terms
    with mpmath.workdps(digits):
        p = [mpmath.mpf(v) for v in task.args.tolist()]
        start = [mpmath.mpf(v) for v in task.x0.tolist()]
        return mpmath.odefun(lambda t, y: list(terms(t, y, p)), task.span[0], start)(task.span[1])


def agreement(name: str) -> float:
    """Digits to which the library's reference and the series agree, in the worst component."""
    end = end_state(name)
    kept = problem(name).reference.tolist()
    worst = max(abs((mpmath.mpf(a) - b) / b) for a, b in zip(kept, end, strict=True))
    return float(-mpmath.log10(worst)) if worst else float("inf")


if __name__ == "__main__":
    for name in ("lotka_volterra", "lorenz"):
        print(f"{name}: {', '.join(mpmath.nstr(v, 18) for v in end_state(name))}; agrees to {agreement(name):.1f} digits")
