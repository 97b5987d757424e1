"""The batches of the contests, and the truth about their first trajectories."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from odebridge.bench.contest import first
from odebridge.integrate import integrate
from odebridge.problems import Problem, problem, van_der_pol

# atol / rtol: near the size of the smallest component that matters, the same for all who take part.
ATOL_PER_RTOL = {
    "robertson": 1e-6, "van_der_pol": 1e-2, "hires": 1e-3, "pollu": 1e-3, "orego": 1e-2, "lotka_volterra": 1.0, "lorenz": 1.0,
}  # fmt: skip


def family(name: str, b: int, seed: int = 0) -> Problem:
    """A batch of b systems of the family; the first k of them are the same for every b.

    robertson: to t = 1e5, rates log-normal with sigma 0.3. van_der_pol: mu log-uniform in 1 to 1000, each over 2 mu.
    """
    if name == "robertson":
        return problem("robertson", t1=1e5).sample(b, seed)
    if name == "van_der_pol":
        many = van_der_pol(1000.0, mu_range=(1.0, 1000.0)).sample(b, seed)
        return replace(many, span=(0.0, 2.0 * many.args[:, 0]))
    return problem(name).sample(b, seed)


def truth(task: Problem, k: int, *, stiff: bool) -> np.ndarray:
    """End states (k, n) of the first k trajectories at rtol 1e-11, by Rodas5P or Dopri8."""
    some = first(task, k)
    sol = integrate(
        some.field, some.x0, some.span, args=some.args, jacobian=some.jacobian, method="rodas5p" if stiff else "dopri8",
        rtol=1e-11, atol=1e-11 * ATOL_PER_RTOL[task.name] * (1.0 if stiff else 1e-2), max_steps=200_000,
    )  # fmt: skip
    return sol.x1.numpy()


def alone(name: str) -> tuple[Problem, np.ndarray]:
    """One system of the test set as a batch of one, and its published end state (1, n)."""
    task = problem(name).batched()
    assert task.reference is not None
    return task, task.reference.numpy()
