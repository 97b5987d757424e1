"""End states of the problem library, computed in two ways each, and the data modules that hold them.

Claim: every reference that is no published one is good to the digits its problem states. Command, on one core:
python benchmarks/references.py [names ...] [--write]. Small systems take seconds each, grids minutes.

Small systems (component-wise fields) are integrated by Radau IIA collocation in 60-digit arithmetic, twice, with different
numbers of stages and tolerances; the difference of the two is the first figure printed, and a solver in double precision
that shares no code with either (SciPy's Radau and DOP853; where the mass is singular, after the algebraic components have been
eliminated) the second, relative to a thousandth of a component's largest size. Grids, whose fields run on tensors only, are
integrated by two such solvers, stopped at every discontinuity of the field; digits there are relative to the largest
component. The beam's second solver is CVODE, which scikit-sundae brings.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import torch
from scipy.integrate import solve_ivp
from scipy.linalg import solveh_banded

from odebridge.core.arrays import on_arrays
from odebridge.problems import PROBLEMS, Problem, problem
from odebridge.problems.componentwise import Field
from odebridge.problems.reference_grids import GRIDS
from odebridge.problems.reference_states import STATES, Known

sys.path.insert(0, str(Path(__file__).parent))  # where its other half is, from wherever this file is run
from collocation import ZERO, Collocation

DIGITS = 60
Rhs = Callable[[float, np.ndarray], np.ndarray]


def in_pieces(task: Problem, go: Callable[[np.ndarray, float, float], np.ndarray]) -> np.ndarray:
    """Integrate from one discontinuity of the field to the next; from each on, the field has its later value."""
    t0, t1 = task.span
    stops = [t0, *(t for t in task.discontinuities if t0 < t < t1), t1]
    y = task.x0.numpy().copy()
    for a, b in pairwise(stops):
        y = go(y, a if a == t0 else np.nextafter(a, b), b)
    return y


def by_scipy(task: Problem, method: str, rtol: float, atol: Any, fun: Rhs | None = None) -> np.ndarray:
    """End state by `scipy.integrate.solve_ivp`."""
    q = task.as_numpy()
    fun = fun or q.fun
    how: dict[str, Any] = {}
    if method in ("Radau", "BDF"):
        how = {"jac": q.jac} if q.jac is not None else {"jac_sparsity": q.sparsity}

    def go(y: np.ndarray, a: float, b: float) -> np.ndarray:
        sol = solve_ivp(fun, (a, b), y, method=method, rtol=rtol, atol=atol, t_eval=(b,), **how)
        if not sol.success:
            raise RuntimeError(f"{task.name}: {sol.message}")
        return sol.y[:, -1]

    return in_pieces(task, go)


def by_adams(task: Problem, rtol: float, atol: float, fun: Rhs) -> np.ndarray:
    """End state by CVODE's Adams formulas of order up to 12, for oscillations; needs scikit-sundae."""

    def rhs(t: float, y: np.ndarray, slope: np.ndarray) -> None:
        slope[:] = fun(t, y)

    def go(y: np.ndarray, a: float, b: float) -> np.ndarray:
        cvode = importlib.import_module("sksundae.cvode")
        sol = cvode.CVODE(rhs, method="Adams", rtol=rtol, atol=atol, max_num_steps=10_000_000).solve(np.array([a, b]), y)
        if not sol.success:
            raise RuntimeError(f"{task.name}: {sol.message}")
        return sol.y[-1]

    return in_pieces(task, go)


def reduced(task: Problem) -> tuple[Rhs, Rhs, np.ndarray]:
    """The ODE w' = g(t, w) under M x' = f of index 1, the state x(t, w), and w at the start.

    With M = U S V': x = V1 w + V2 z, where z solves the algebraic equations U2' f(t, x) = 0 by Newton's iteration.
    """
    assert task.mass is not None
    u, s, vt = np.linalg.svd((task.mass.diag() if task.mass.dim() == 1 else task.mass).numpy())
    r = int((s > 1e-12 * s[0]).sum())
    f, jac = (on_arrays(call, task.batched().args) for call in (task.field, task.jacobian) if call is not None)
    y0 = task.x0.numpy()
    last = [vt[r:] @ y0]

    def state(t: float, w: np.ndarray) -> np.ndarray:
        fixed, z = w @ vt[:r], last[0]
        for _ in range(30):
            x = fixed + z @ vt[r:]
            change = np.linalg.solve(u[:, r:].T @ jac(t, x) @ vt[r:].T, u[:, r:].T @ f(t, x))
            z = z - change
            if np.abs(change).max() < 1e-14 * (1 + np.abs(z).max()):
                break
        if np.isfinite(z).all():  # a stage far off may have none; the next call must not start from there
            last[0] = z
        return fixed + z @ vt[r:]

    return (lambda t, w: (u[:, :r].T @ f(t, state(t, w))) / s[:r]), state, vt[:r] @ y0


def by_elimination(task: Problem, rtol: float, atol: float) -> np.ndarray:
    """End state of a system with a singular mass by SciPy's Radau, its algebraic components solved for inside the field."""
    slope, state, w0 = reduced(task)
    sol = solve_ivp(slope, task.span, w0, method="Radau", rtol=rtol, atol=atol)
    return state(task.span[1], sol.y[:, -1])


def typical(task: Problem) -> np.ndarray:
    """Largest size of every component over the span, roughly."""
    if task.mass is not None:
        return np.maximum(np.abs(task.x0.numpy()), np.abs(by_elimination(task, 1e-4, 1e-8)))
    q = task.as_numpy()
    sol = solve_ivp(q.fun, q.span, q.y0, method="Radau", rtol=1e-3, atol=1e-14, jac=q.jac)
    return np.abs(sol.y).max(1)


def beam_again(t: float, x: np.ndarray) -> np.ndarray:
    """The field of `beam`, written again on arrays with a banded solver: a check of the first, and ten times faster for one."""
    n = len(x) // 2
    angle, speed = x[:n], x[n:]
    force = 1.5 * np.sin(t) ** 2 if t <= np.pi else 0.0
    v = n**4 * (np.concatenate([-angle[:1], angle[:-1]]) - 2 * angle + np.concatenate([angle[1:], angle[-1:]]))
    v += n**2 * force * (np.cos(angle) + np.sin(angle))
    c, s, g = np.cos(np.diff(angle)), np.sin(np.diff(angle)), speed * speed
    g[:-1] += s * v[1:]
    g[1:] -= s * v[:-1]
    band = np.full((2, n), 2.0)
    band[1, 0], band[1, -1], band[0, 1:] = 1.0, 3.0, -c
    w = solveh_banded(band, g)
    turn = band[1] * v
    turn[:-1] += s * w[1:] - c * v[1:]
    turn[1:] -= s * w[:-1] + c * v[:-1]
    return np.concatenate([speed, turn])


def common(a: Any, b: Any, least: Any) -> float:
    """Digits to which two states agree in the worst component, relative to it or to `least` where that is larger."""
    rows = zip(map(mpmath.mpf, a), map(mpmath.mpf, b), map(mpmath.mpf, least), strict=True)
    worst = max(abs(x - y) / max(abs(y), least_one) for x, y, least_one in rows if y or least_one)
    return float(-mpmath.log10(worst)) if worst else float(DIGITS)


def agreement(name: str) -> float:
    """Digits to which the library's reference of a small system and a collocation agree, in the worst component."""
    with mpmath.workdps(DIGITS):
        task = problem(name)
        sizes = typical(task)
        end, _ = Collocation(task, 14, 1e-18, sizes).run((task.span[1] - task.span[0]) * 1e-9)
        return common(task.reference.tolist(), end, ZERO * sizes)


def small(name: str) -> Known:
    """A small system's end state by two collocations, checked by a solver in double precision."""
    with mpmath.workdps(DIGITS):
        task = problem(name)
        sizes = typical(task)
        first = (task.span[1] - task.span[0]) * 1e-9
        (one, _), (two, steps) = (Collocation(task, s, tol, sizes).run(first) for s, tol in ((10, 1e-15), (14, 1e-18)))
        digits = common(one, two, ZERO * sizes)
        end = tuple(float(v) if abs(v) > ZERO * size else 0.0 for v, size in zip(two, sizes, strict=True))
        if task.mass is not None:
            other, who = by_elimination(task, 1e-10, 1e-13), "Radau"
        else:
            who = "Radau" if task.stiff else "DOP853"
            other = by_scipy(task, who, 1e-12, 1e-12 * sizes * 1e-3)
        print(f"{name}: {digits:.1f} digits in {steps} steps; {who} {common(other, end, 1e-3 * sizes):.1f} digits")
        return Known(min(15.0, float(int(digits))), f"Radau IIA collocation in {DIGITS}-digit arithmetic", end)


# Solver, rtol, atol of the two ways; the first is the one that is kept.
WAYS: dict[str, tuple[tuple[str, float, float], tuple[str, float, float]]] = {
    "medical_akzo_nobel": (("DOP853", 1e-13, 1e-16), ("Radau", 1e-9, 1e-13)),
    "beam": (("DOP853", 1e-13, 1e-15), ("Adams", 1e-12, 1e-14)),
}
PUBLISHED: dict[str, dict[int, float]] = {  # the components that the IVP test set prints
    "medical_akzo_nobel": {
        **{0: 0.5113983840919909e-5, 2: 0.1027858770570419e-4, 4: 0.1549349862635799e-4},
        24: 0.7030103051210320e-4,
    },
    "beam": {0: -0.5792366591285007e-2, 1: -0.1695298550721735e-1, 39: -0.1767201761075488, 40: 0.3747362681329794e-1},
}


def grid(name: str) -> Known:
    """A grid's end state by the two ways, compared to the largest component."""
    task = problem(name)
    ways = WAYS.get(name, (("DOP853", 1e-13, 1e-15), ("Radau", 1e-10, 1e-12)))
    fun = beam_again if name == "beam" else None
    one, two = (
        by_adams(task, rtol, atol, fun or task.as_numpy().fun) if way == "Adams" else by_scipy(task, way, rtol, atol, fun)
        for way, rtol, atol in ways
    )
    digits = common(two, one, np.full(len(one), np.abs(one).max()))
    print(f"{name}: {digits:.1f} digits")
    if name in PUBLISHED:
        known = PUBLISHED[name]
        published = common([one[k] for k in known], known.values(), [0.0] * len(known))
        print(f"{name}: the published components {published:.1f} digits")
    return Known(float(int(digits)), " and ".join(way for way, _, _ in ways), tuple(one.tolist()))


HEAD = """\"\"\"End states of {what}: data, written by benchmarks/references.py; do not edit by hand.\"\"\"

from __future__ import annotations

"""
KNOWN = (
    HEAD.format(what="small systems")
    + """from typing import NamedTuple


class Known(NamedTuple):
    \"\"\"An end state, how many of its digits two computations agree on, and which two.\"\"\"

    digits: float
    ways: str
    end: tuple[float, ...]


def numbers(text: str) -> tuple[float, ...]:
    \"\"\"Floats between white space.\"\"\"
    return tuple(map(float, text.split()))


STATES: dict[str, Known] = {
"""
)
GRID_HEAD = (
    HEAD.format(what="grids and of the beam")
    + """from odebridge.problems.reference_states import Known, numbers

GRIDS: dict[str, Known] = {
"""
)
ENTRY = """    "{name}": Known(
        {digits},
        "{ways}",
        numbers(\"\"\"
{block}
        \"\"\"),
    ),
"""


def write(found: dict[str, Known]) -> None:
    """Put end states into the data modules of the library, beside those that are there."""
    folder = Path(inspect.getfile(problem)).parent
    everything = STATES | GRIDS | found
    for module, head, is_grid in (("reference_states", KNOWN, False), ("reference_grids", GRID_HEAD, True)):
        text = head
        for name in PROBLEMS:
            if name not in everything or isinstance(problem(name).field, Field) == is_grid:
                continue
            digits, ways, end = everything[name]
            rows = (" ".join(map(repr, end[k : k + 5])) for k in range(0, len(end), 5))
            block = "\n".join(f"        {row}" for row in rows)
            text += ENTRY.format(name=name, digits=digits, ways=ways, block=block)
        (folder / f"{module}.py").write_text(text + "}\n")


def main() -> None:
    """Compute the named end states, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[n for n in PROBLEMS if n in STATES | GRIDS])
    parser.add_argument("--write", action="store_true", help="put them into the library")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = {name: small(name) if isinstance(problem(name).field, Field) else grid(name) for name in given.names}
    if given.write:
        write(found)


if __name__ == "__main__":
    main()
