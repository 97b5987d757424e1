"""Adjoint: the gradient from a second solve, backward in time."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from odebridge.core.derivatives import refuse_second
from odebridge.core.result import Result, Solution
from odebridge.core.shapes import leaves
from odebridge.integrate import check
from odebridge.integrate.backsolve import Backward
from odebridge.integrate.leaves import leaves_of
from odebridge.integrate.loops import Trying
from odebridge.integrate.save import At, Dense, Last, save_times
from odebridge.integrate.span import Task
from odebridge.linalg.structure import Dense as Full


class DriftWarning(UserWarning):
    """A state reconstructed backward in time is not the one that the forward solve went through."""


@dataclass(frozen=True)
class Adjoint:
    """a' = -(df/dx)^T a backward in time, dL/dp = int a^T df/dp dt: memory does not grow with the number of steps.

    state: "backsolve" solves x backward together with a, which is unstable where the solution contracts (every stiff
    problem); "interpolated" takes x from the forward solve's dense output, whose memory grows with the steps but holds no
    graph, and works with stiff methods on stiff problems.
    method, rtol, atol, max_steps: of the backward solve, None: as forward. atol is relative to the largest entry of a
    trajectory's adjoint, None: a thousandth of rtol; parameters are in no error norm. The parameter integral is Gauss's rule
    of order 6 on the dense output of each backward step, so its memory is one gradient, whatever the batch.
    drift: after a backsolve between two saved times x is compared with the forward state; on_drift says what happens where
    they differ by more than `drift` times the tolerance: "warn" (`DriftWarning`), "raise" (RuntimeError) or "ignore".
    controller, first_step, trying: of the backward solve, where they are not those that follow from the method; parameters:
    tensors that need a gradient beside those that are found. They are for libraries built on this one.
    Gradients reach x0, args, parameters and every tensor in a closure that the field uses at the start (one that enters later
    raises RuntimeError), t0, t1, save times. ValueError for `after`, `nonnegative`, events, discontinuities, a mass matrix,
    sparsity, complex states, other saves than `Last` and `At`. RuntimeError where the backward solve fails, and for second
    derivatives. Source: Pontryagin et al. 1962; Chen et al., NeurIPS 2018; Daulbaev et al., NeurIPS 2020. Caveat: this is the
    derivative of the ODE and not of the numbers computed; `Replay` is exact for those, and the right choice unless memory
    forbids it. Use: `ob.integrate(f, x0, (0.0, 9.0), gradient=ob.Adjoint(on_drift="raise"))`.
    """

    state: str = "backsolve"
    method: Any = None
    rtol: Any = None
    atol: Any = None
    max_steps: int = 10_000
    drift: float = 100.0
    on_drift: str = "warn"
    controller: Any = None
    first_step: Any = None
    trying: Trying | None = None
    parameters: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        for name, value, choice in (
            ("state", self.state, ("backsolve", "interpolated")),
            ("on_drift", self.on_drift, ("warn", "raise", "ignore")),
        ):
            if value not in choice:
                raise ValueError(f"Adjoint: {name} must be one of {choice}, got {value!r}.")
        check.positive("drift", self.drift)
        check.whole("max_steps", self.max_steps)

    def solve(self, task: Task) -> Solution:
        """The solution with a graph of one node."""
        _refuse(task)
        plain, course = task.without_graph(), task.course
        times = save_times(task.save, course) if isinstance(task.save, At) else course.t0[:, None][:, :0]
        dense = self.state == "interpolated"
        with torch.no_grad():
            sol = replace(plain, save=Dense() if dense else task.save).found()
            xs = sol.xs if isinstance(task.save, At) else sol.x1[:, None][:, :0]
            if dense:
                assert sol.dense is not None
                xs = sol.dense(times.detach())
            assert xs is not None
        shared = _shared(plain, self.parameters)
        backward = Backward(self, plain, sol, times.detach(), xs, shared)
        x1, xs = _Node.apply(backward, sol.x1, xs, course.x0, course.t0, course.t1, times, *leaves(task.f.args), *shared)  # type: ignore[misc]
        kept = isinstance(task.save, At)
        ts = torch.where(torch.isfinite(xs.detach()).flatten(2).all(2), times, torch.nan) if kept else None
        end = torch.where(sol.result == int(Result.OK), course.t1, sol.end)
        return replace(sol, x1=x1, ts=ts, xs=xs if kept else None, hs=None, errors=None, dense=None, end=end)

    def report(self, worst: Tensor) -> None:
        """Say so where the largest drift of a trajectory (b,), in units of the tolerance, is too large."""
        bad = ~(worst <= self.drift)
        if self.on_drift == "ignore" or not bool(bad.any()):
            return
        i = int(torch.where(torch.isnan(worst), torch.inf, worst).argmax())
        text = (
            f"gradient: solved backward, trajectory {i} is {float(worst[i]):.3g} times the tolerance away from where the "
            f"forward solve was ({int(bad.sum())} trajectories beyond {self.drift:g} times), so this gradient is wrong: the "
            "problem contracts too strongly for a backsolve. Use ob.Replay(), ob.Replay(checkpoints='sqrt') if memory is "
            "short, or ob.Adjoint(state='interpolated')."
        )
        if self.on_drift == "raise":
            raise RuntimeError(text)
        warnings.warn(text, DriftWarning, stacklevel=2)


def _refuse(task: Task) -> None:
    """ValueError in a sentence for what the adjoint equation here does not cover."""
    extras, f = task.extras, task.f
    reasons = {
        "states changed by after or nonnegative": task.after is not None,
        "events": extras.crossings is not None,
        "discontinuities": extras.jumps is not None,
        "a mass matrix": f.mass is not None,
        "sparsity": not isinstance(f.structure, Full),
        "complex states": task.course.x0.is_complex(),
        "save other than ob.Last() and ob.At(times)": not isinstance(task.save, (Last, At))
        or getattr(task.save, "of", None) is not None,
    }
    for what, given in reasons.items():
        if given:
            raise ValueError(f"gradient: Adjoint does not cover {what}, and would be wrong there; use ob.Replay().")


def _shared(plain: Task, more: tuple[Tensor, ...]) -> list[Tensor]:
    """The leaves that all trajectories share: parameters of a module, and what one pass of the field reaches."""
    field = plain.f.field
    owned = [p for p in field.parameters() if p.requires_grad] if isinstance(field, nn.Module) else []
    found: dict[int, Tensor] = {id(p): p for p in (*owned, *more) if p.requires_grad}
    for leaf in leaves_of(plain.f, plain.course.t0, plain.course.x0):
        found[id(leaf)] = leaf
    return list(found.values())


class _Node(torch.autograd.Function):
    """x1 and xs, whose derivative is a solve."""

    @staticmethod
    def forward(ctx: Any, backward: Backward, x1: Tensor, xs: Tensor, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        ctx.run, ctx.needs = backward, [v.requires_grad for v in inputs]
        return x1.clone(), xs.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        refuse_second("gradient: Adjoint has first derivatives only; for second ones use ob.Replay().")
        found = ctx.run(*grads)
        return None, None, None, *(g if need else None for g, need in zip(found, ctx.needs, strict=True))
