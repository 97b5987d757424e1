"""diffrax, compiled as a whole by XLA; also with the stopping test of its Newton iteration corrected."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from odebridge.core.optional import installed, optional
from odebridge.peers.base import EnsembleRun, PeerRun, absent, no_ensemble, timed
from odebridge.peers.batched import one_of
from odebridge.peers.jax_field import in_jax, libraries
from odebridge.problems.base import Problem

MAX_STEPS = 100_000
IMPLICIT = ("Kvaerno3", "Kvaerno4", "Kvaerno5")
# diffrax's own page on stiff problems uses these; for explicit methods its default is an I controller.
STIFF_LAW = {"pcoeff": 0.3, "icoeff": 0.4, "dcoeff": 0.0}
FIX = """\
diffrax 0.7.2, `VeryChord.terminate`: from the second iteration on, "not yet converged" is reported as "diverged", so a stage
that needs three iterations is a rejected step. Here it is divergence only if the rate of convergence says so (not finite,
or above 2), as upstream has corrected it since; the iteration goes on to diffrax's own limit otherwise."""


@cache
def _corrected() -> Any:
    """VeryChord with that one test changed."""
    found = libraries()
    assert found is not None
    diffrax, optx, jnp = found[1], optional("optimistix"), found[0].numpy

    class Corrected(diffrax.VeryChord):
        """See FIX."""

        def terminate(self, fn: Any, y: Any, args: Any, options: Any, state: Any, tags: Any) -> Any:
            """When to stop, and whether that is a failure."""
            rate = state.diffsize / state.diffsize_prev
            factor = state.diffsize * rate / (1 - rate)
            small = state.diffsize < 10 ** (2 - jnp.finfo(state.diffsize.dtype).precision)
            converged = (factor > 0) & (factor < self.kappa)
            diverged = ~jnp.isfinite(rate) | (rate > 2)
            enough = state.step >= 2
            failed = enough & ~small & ~converged & diverged
            ended = optx.RESULTS.where(failed, optx.RESULTS.nonlinear_divergence, optx.RESULTS.successful)
            broken = state.result != optx.RESULTS.successful
            return broken | (enough & (small | diverged | converged)), optx.RESULTS.where(broken, state.result, ended)

    return Corrected


@cache
def _compiled(method: str, fixed: bool, field: Any, shapes: tuple[Any, ...], max_steps: int) -> tuple[Any, float]:
    """The solver of a batch as one executable, and the seconds that compiling took."""
    found = libraries()
    assert found is not None
    jax, diffrax = found
    if fixed:
        finder = diffrax.with_stepsize_controller_tols(_corrected())()
        solver = getattr(diffrax, method)(root_finder=finder)
    else:
        solver = getattr(diffrax, method)()
    term = diffrax.ODETerm(field)
    coefficients = STIFF_LAW if method in IMPLICIT else {}

    def one(t0: Any, t1: Any, y0: Any, args: Any, rtol: Any, atol: Any) -> Any:
        law = diffrax.PIDController(rtol=rtol, atol=atol, **coefficients)
        sol = diffrax.diffeqsolve(
            term, solver, t0, t1, None, y0, args, stepsize_controller=law, max_steps=max_steps, throw=False,
            adjoint=diffrax.DirectAdjoint(),
        )  # fmt: skip
        steps = sol.stats
        return sol.ys[-1], sol.result == diffrax.RESULTS.successful, steps["num_accepted_steps"], steps["num_rejected_steps"]

    many = jax.vmap(one, in_axes=(0, 0, 0, None if shapes[3] is None else 0, None, None))
    given = [None if s is None else jax.ShapeDtypeStruct(s, "float64") for s in shapes]
    began = time.perf_counter()
    executable = jax.jit(many).lower(*given).compile()
    return executable, time.perf_counter() - began


@dataclass(frozen=True)
class DiffraxPeer:
    """vmap(diffeqsolve) under jit, in double precision, to the end state only; compile time is reported apart.

    fixed: with the stopping test of the Newton iteration corrected, see FIX. Controller: the PI law that diffrax's page on
    stiff problems uses for Kvaerno's methods, its default for explicit ones. Counts: accepted and rejected steps.
    Caveats: the Jacobian is diffrax's own, by forward mode, since it takes none; all trajectories of a batch step until the
    last has finished; no time limit inside a solve.
    """

    method: str
    fixed: bool = False

    @property
    def name(self) -> str:
        """Name in the catalogue."""
        return f"diffrax:{self.method}" + ("+fix" if self.fixed else "")

    @property
    def version(self) -> str | None:
        """Version of diffrax, without importing it."""
        return installed("diffrax") if installed("jax") else None

    def __call__(
        self, problem: Problem, rtol: float, atol: float, *, max_steps: int | None = None, time_limit: float | None = None
    ) -> PeerRun:
        """Solve one system from t0 to t1."""
        return one_of(self._solve(problem.batched(), rtol, atol, max_steps))

    def ensemble(
        self, problem: Problem, rtol: float, atol: float, *, max_steps: int | None = None, time_limit: float | None = None
    ) -> EnsembleRun:
        """All trajectories in one call."""
        return self._solve(problem, rtol, atol, max_steps)

    def _solve(self, problem: Problem, rtol: float, atol: float, max_steps: int | None) -> EnsembleRun:
        found = libraries()
        if found is None:
            return no_ensemble(problem, absent(self.name))
        try:
            field = in_jax(problem)
        except TypeError as error:
            return no_ensemble(problem, f"{self.name}: {error}.")
        jax, b = found[0], len(problem.x0)
        x0 = problem.x0.double().numpy()
        args = None if problem.args is None else problem.args.double().numpy()
        t0, t1 = (np.broadcast_to(np.asarray(t, dtype=np.float64), (b,)).copy() for t in problem.span)
        shapes = ((b,), (b,), x0.shape, None if args is None else args.shape, (), ())
        before = _compiled.cache_info().misses
        run, took = _compiled(self.method, self.fixed, field, shapes, max_steps or MAX_STEPS)
        took = took if _compiled.cache_info().misses > before else 0.0
        given = [None if v is None else jax.numpy.asarray(v) for v in (t0, t1, x0, args, float(rtol), float(atol))]
        with timed() as clock:
            x1, ok, accepted, rejected = jax.block_until_ready(run(*given))
        x1, ok = np.asarray(x1), np.asarray(ok)
        ok = ok & np.isfinite(x1).all(1)
        counts = {"accepted": int(accepted.sum()), "rejected": int(rejected.sum())}
        message = "" if ok.all() else f"{int((~ok).sum())} of {b} trajectories did not reach the end"
        return EnsembleRun(np.where(ok[:, None], x1, np.nan), counts, clock.seconds, clock.cpu, took, ok, message)
