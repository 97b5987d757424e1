"""Robertson's three log rate constants: ours, diffrax forward and reverse, CVODE.

The loss of one trajectory is the sum of squares of (y1, 1e4 y2, y3) at 50 times, log-spaced from 1e-5 to 1e5.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from odebridge.bench.contest import Contender
from odebridge.core.optional import optional
from odebridge.integrate import At, Forward, Replay, integrate
from odebridge.peers.base import EnsembleRun, timed
from odebridge.problems import Problem

T1, LOOPED, KNOWN = 1e5, 20, 20
TIMES, SCALE = np.logspace(-5, 5, 50), np.array([1.0, 1e4, 1.0])
RATES = np.log([0.04, 3e7, 1e4])
RTOLS = [10.0**-k for k in range(3, 11)]


def field(t: Any, x: Tensor, k: Tensor) -> Tensor:
    """Robertson's reaction with the logarithms of its rates, k (b, 3)."""
    k1, k2, k3 = k.exp().unbind(-1)
    a, b, c = x.unbind(-1)
    there, back, lost = k1 * a, k3 * b * c, k2 * b * b
    return torch.stack([back - there, there - back - lost, lost], -1)


def jacobian(t: Any, x: Tensor, k: Tensor) -> Tensor:
    """df/dx."""
    k1, k2, k3 = k.exp().unbind(-1)
    _, b, c = x.unbind(-1)
    zero, lost = torch.zeros_like(b), 2.0 * k2 * b
    rows = [[-k1, k3 * c, k3 * b], [k1, -k3 * c - lost, -k3 * b], [zero, lost, zero]]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def task(b: int) -> Problem:
    """A batch of b trajectories with log-normal rates (sigma 0.3; the first has the published ones)."""
    spread = 0.3 * torch.randn(b, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spread[0] = 0.0
    x0 = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).repeat(b, 1)
    return Problem(field, x0, (0.0, T1), torch.tensor(RATES) + spread, jacobian, name="robertson")


def by_us(label: str, method: str, policy: Any, *, compiled: bool) -> Contender:
    """One of our methods and policies."""

    def solve(problem: Problem, rtol: float, atol: float, limit: float) -> EnsembleRun:
        with timed() as clock:
            k = problem.args.clone().requires_grad_()
            sol = integrate(
                field, problem.x0, problem.span, args=k, jacobian=jacobian, method=method, rtol=rtol, atol=atol,
                save=At(torch.tensor(TIMES)), gradient=policy, compile=compiled, throw=False, time_limit=limit,
            )  # fmt: skip
            assert sol.xs is not None
            (sol.xs * torch.tensor(SCALE)).square().sum().backward()
        assert k.grad is not None
        return EnsembleRun(k.grad.numpy(), {}, clock.seconds, clock.cpu, 0.0, (sol.result == 0).numpy(), sol.message[:200])

    return Contender(f"odebridge:{label}", solve, None, RTOLS, compiled)


@cache
def _in_jax(solver: str, mode: str) -> Callable[..., Any]:
    jax, diffrax = optional("jax"), optional("diffrax")
    jax.config.update("jax_enable_x64", True)
    jnp, adjoint = jax.numpy, diffrax.ForwardMode() if mode == "forward" else diffrax.RecursiveCheckpointAdjoint()

    def f(t: Any, y: Any, k: Any) -> Any:
        k1, k2, k3 = jnp.exp(k)
        there, back, lost = k1 * y[0], k3 * y[1] * y[2], k2 * y[1] * y[1]
        return jnp.stack([back - there, there - back - lost, lost])

    def loss(k: Any, rtol: Any, atol: Any) -> Any:
        ys = diffrax.diffeqsolve(
            diffrax.ODETerm(f), getattr(diffrax, solver)(), 0.0, T1, None, jnp.array([1.0, 0.0, 0.0]), k,
            saveat=diffrax.SaveAt(ts=jnp.asarray(TIMES)), max_steps=4096, throw=False, adjoint=adjoint,
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol, pcoeff=0.3, icoeff=0.4),
        ).ys  # fmt: skip
        return ((ys * SCALE) ** 2).sum()

    one = jax.jacfwd(loss) if mode == "forward" else jax.grad(loss)
    many = jax.jit(jax.vmap(one, in_axes=(0, None, None)))
    return lambda k, rtol, atol: np.asarray(jax.block_until_ready(many(k, rtol, atol)))


def by_diffrax(solver: str, mode: str) -> Contender:
    """The vmap of the gradient of one trajectory, compiled before it is timed."""

    def solve(problem: Problem, rtol: float, atol: float, limit: float) -> EnsembleRun:
        run, k = _in_jax(solver, mode), problem.args.numpy()
        with timed() as clock:
            grads = run(k, rtol, atol)
        ok = np.asarray(np.isfinite(grads).all(1))
        return EnsembleRun(grads, {}, clock.seconds, clock.cpu, 0.0, ok, "" if ok.all() else "not finite")

    return Contender(f"diffrax:{solver} {mode}", solve, None, RTOLS)


def _sensitive(t: float, y: np.ndarray, out: np.ndarray, k: list[float]) -> None:
    """States and their sensitivities to the logarithms of the rates: s' = J s + df/dlog k, 12 equations in plain floats."""
    k1, k2, k3 = k
    a, b, c, *s = y.tolist()
    there, back, lost = k1 * a, k3 * b * c, k2 * b * b
    p, q, r = k3 * c, k3 * b, 2.0 * k2 * b
    rows = [back - there, there - back - lost, lost]
    for i, (da, db, dc) in enumerate((s[0:3], s[3:6], s[6:9])):
        dthere = k1 * da + (there if i == 0 else 0.0)
        dlost = r * db + (lost if i == 1 else 0.0)
        dback = p * db + q * dc + (back if i == 2 else 0.0)
        rows += [dback - dthere, dthere - dback - dlost, dlost]
    out[:] = rows


def _block(t: float, y: np.ndarray, fy: np.ndarray, out: np.ndarray, k: list[float]) -> None:
    """Its Jacobian without the second derivatives, as CVODES' simultaneous corrector has it: J on the diagonal."""
    k1, k2, k3 = k
    _, b, c = y[:3]
    j = [[-k1, k3 * c, k3 * b], [k1, -k3 * c - 2.0 * k2 * b, -k3 * b], [0.0, 2.0 * k2 * b, 0.0]]
    out[:] = 0.0
    for i in range(0, 12, 3):
        out[i : i + 3, i : i + 3] = j


def _bound(fn: Callable[..., None], k: list[float]) -> Callable[..., None]:
    """With its rates; CVODE counts the arguments of what it is given."""
    if fn is _sensitive:
        return lambda t, y, out: fn(t, y, out, k)
    return lambda t, y, fy, out: fn(t, y, fy, out, k)


def by_cvode() -> Contender:
    """CVODE's BDF on the 12 equations, one trajectory after the other, the field in plain Python floats.

    scikit-sundae 1.2 does not reach CVODES' own sensitivities. The error test covers them, scaled like the states.
    """
    library = optional("sksundae")

    def solve(problem: Problem, rtol: float, atol: float, limit: float) -> EnsembleRun:
        grads, weights = np.full((len(problem.x0), 3), np.nan), SCALE * SCALE
        tol = np.tile([atol, atol, atol], 4)
        tol[[0, 2, 3, 5, 6, 8, 9, 11]] *= 1e2  # the large components
        with timed() as clock:
            for i, k in enumerate(problem.args.exp().tolist()):
                solver = library.cvode.CVODE(
                    _bound(_sensitive, k), method="BDF", rtol=rtol, atol=tol,
                    jacfn=_bound(_block, k), max_num_steps=100_000,
                )  # fmt: skip
                sol = solver.solve(np.concatenate([[0.0], TIMES]), np.array([1.0] + [0.0] * 11))
                if sol.success:
                    y, s = sol.y[1:, :3], sol.y[1:, 3:].reshape(-1, 3, 3)
                    grads[i] = (2.0 * (weights * y)[:, None, :] * s).sum((0, 2))
        ok = np.asarray(np.isfinite(grads).all(1))
        return EnsembleRun(grads, {}, clock.seconds, clock.cpu, 0.0, ok, "" if ok.all() else "CVODE failed")

    return Contender("sundials:BDF, 12 equations", solve, LOOPED, RTOLS)


def contenders(*, compiled: bool) -> list[Contender]:
    """Everybody."""
    mine = [
        by_us("rodas5p", "rodas5p", Replay(), compiled=compiled),
        by_us("rodas5p at once", "rodas5p", Replay(at_once=True), compiled=compiled),
        by_us("rodas5p forward", "rodas5p", Forward(), compiled=compiled),
        by_us("kvaerno5", "kvaerno5", Replay(), compiled=compiled),
    ]
    theirs = [by_diffrax(s, mode) for s in ("Kvaerno5", "Kvaerno3") for mode in ("forward", "reverse")]
    return [*mine, *theirs, by_cvode()]


@cache
def truth() -> np.ndarray:
    """Gradients (k, 3) of the first trajectories at rtol 1e-11."""
    problem = task(KNOWN)
    return by_us("", "rodas5p", Replay(), compiled=False).solve(problem, 1e-11, 1e-16, 600.0).x1
