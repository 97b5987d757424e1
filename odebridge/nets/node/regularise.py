"""Penalties that keep a neural ODE cheap to solve: smooth paths, small error estimates, little stiffness, random ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from odebridge.core.names import lookup
from odebridge.integrate import Every
from odebridge.integrate.system import BoundField
from odebridge.methods.catalogue import METHODS
from odebridge.methods.explicit_rk import ExplicitRK
from odebridge.methods.rosenbrock import Rosenbrock
from odebridge.nets.node.neural_ode import NeuralODE
from odebridge.nets.node.pullback import pullback
from odebridge.nets.node.solver import END, Solver


@dataclass(frozen=True)
class Terms:
    """Weights of the penalties; 0 leaves a term out. b samples, |.| the Euclidean norm of one sample.

    kinetic:   K = 1/b sum_i int |f(t, h_i)|^2 dt                 (RNODE; Finlay et al., ICML 2020, arXiv 2002.02798)
    jacobian:  J = 1/b sum_i int |eps_i^T df/dh (t, h_i)|^2 dt    (RNODE; eps_i of random signs: Hutchinson's estimate of
               the squared Frobenius norm). Both integrals are further components of the state, so that they are solved for and
               weigh in the step sizes as the state does.
    error:     E = 1/b sum_i sum_j |E_ij| |dt_ij|,  E_ij = dt sum_s (b_s - b^_s) k_s, the embedded error estimate of kept step j
    stiffness: S = 1/b sum_i sum_j |k_s - k_(s-1)| / |g_s - g_(s-1)|, of the last two stages, slopes k at states g with equal
               abscissa (ERNODE and SRNODE; Pal et al., ICML 2021, arXiv 2105.03918; Shampine 1977 for the quotient)
    sampled:   of error and stiffness one step j of each sample, that in which a time uniform in the span falls, in place of the
               sum (Pal et al., Locally regularized neural differential equations, ICML 2023, arXiv 2303.02262).
    steer:     the span ends at t1 + u, u uniform in (-steer, steer), one for the batch (STEER; Ghosh et al., NeurIPS 2020).

    The kept steps are found by the solve and are constants of the gradient, as everywhere; the estimates are made again for all
    of them as one batch. ValueError for negative weights. Caveat: stiffness needs a method whose two last stages have equal
    abscissa (tsit5, dopri5), error one with embedded weights, explicit Runge-Kutta or Rosenbrock.
    Use: `y, penalty = regularised(net, x, Terms(error=100.0), torch.Generator().manual_seed(0))`.
    """

    kinetic: float = 0.0
    jacobian: float = 0.0
    error: float = 0.0
    stiffness: float = 0.0
    sampled: bool = False
    steer: float = 0.0

    def __post_init__(self) -> None:
        for name in ("kinetic", "jacobian", "error", "stiffness", "steer"):
            if not getattr(self, name) >= 0.0:
                raise ValueError(f"Terms: {name} must be at least 0, got {getattr(self, name)!r}.")

    def times(self, strength: float) -> Terms:
        """The same with all weights times `strength`; the reach of `steer` stays."""
        s = strength
        return Terms(s * self.kinetic, s * self.jacobian, s * self.error, s * self.stiffness, self.sampled, self.steer)


# Weights that are felt by the small fields here without hurting them; `Terms.times` scales them.
REGULARISERS: dict[str, Terms] = {
    "none": Terms(),
    "kinetic": Terms(kinetic=0.01),
    "jacobian": Terms(jacobian=0.01),
    "rnode": Terms(kinetic=0.01, jacobian=0.01),
    "error": Terms(error=1e4),
    "stiffness": Terms(stiffness=0.03),
    "error-sampled": Terms(error=1e4, sampled=True),
    "stiffness-sampled": Terms(stiffness=0.3, sampled=True),
    "steer": Terms(steer=0.25),
}


def regularised(
    net: NeuralODE, x: Float[Tensor, "b *s"], terms: Terms, chance: torch.Generator
) -> tuple[Float[Tensor, "b *r"], Float[Tensor, ""]]:
    """net(x), and the sum of the weighted penalties of the solve behind it. chance: for signs, times and ends; see `Terms`.

    Use: `y, penalty = regularised(net, x, Terms(kinetic=0.01), torch.Generator())`, then `loss(y) + penalty`.
    """
    h0, (t0, t1) = net.lift(x), net.span
    if terms.steer > 0.0:
        if terms.steer >= abs(t1 - t0):
            raise ValueError(f"Terms: steer={terms.steer:g} must be less than the length of the span, {abs(t1 - t0):g}.")
        t1 = t1 + terms.steer * (2.0 * float(torch.rand((), generator=chance)) - 1.0)
    stepwise = terms.error > 0.0 or terms.stiffness > 0.0
    if stepwise:
        _check_method(net.solver, terms)
    penalty = h0.new_zeros(())
    if terms.kinetic > 0.0 or terms.jacobian > 0.0:
        signs = torch.randint(0, 2, h0.shape, generator=chance).to(h0) * 2 - 1
        zero = h0.new_zeros(len(h0), 1)
        save = Every() if stepwise else END
        field = _extended(net.field, terms)
        sol = net.solver.solve(field, (h0, zero, zero.clone()), (t0, t1), args=signs, save=save)
        end, kinetic, jacobian = sol.x1
        penalty = penalty + terms.kinetic * kinetic.mean() + terms.jacobian * jacobian.mean()
        xs = sol.xs[0] if stepwise else None
    else:
        sol = net.solver.solve(net.field, h0, (t0, t1), save=Every() if stepwise else END)
        end, xs = sol.x1, sol.xs
    if stepwise:
        assert sol.ts is not None
        assert xs is not None
        penalty = penalty + _stepwise(net, sol.ts, xs, (t0, t1), terms, chance)
    return net.head(end), penalty


def _extended(f: Callable[..., Tensor], terms: Terms) -> Callable[..., Any]:
    """The field of (h, K, J) for `args` the signs of each sample; a term that is left out costs nothing and stays 0."""

    def field(t: Tensor, state: tuple[Tensor, Tensor, Tensor], signs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h, zero, _ = state
        if terms.jacobian > 0.0:
            slope, product = pullback(lambda y: f(t, y), h, lambda _: signs)
            product = product.flatten(1).square().sum(1, keepdim=True)
        else:
            slope, product = f(t, h), torch.zeros_like(zero)
        speed = slope.flatten(1).square().sum(1, keepdim=True) if terms.kinetic > 0.0 else torch.zeros_like(zero)
        return slope, speed, product

    return field


def _check_method(solver: Solver, terms: Terms) -> ExplicitRK | Rosenbrock:
    method = lookup("method", solver.method, METHODS) if isinstance(solver.method, str) else solver.method
    if not isinstance(method, (ExplicitRK, Rosenbrock)) or method.error_order is None:
        raise ValueError(
            f"regulariser: method {method.name!r} has no embedded error estimate that can be differentiated; take an explicit "
            "Runge-Kutta or Rosenbrock method with one, such as 'tsit5' or 'rodas5p'."
        )
    if terms.stiffness > 0.0 and not (isinstance(method, ExplicitRK) and method.tableau.c[-2:] == (1.0, 1.0)):
        raise ValueError(
            f"regulariser: method {method.name!r} has no two last stages of equal abscissa to read stiffness from; take "
            "'tsit5' or 'dopri5'."
        )
    return method


def _stepwise(
    net: NeuralODE, ts: Float[Tensor, "b k"], xs: Float[Tensor, "b k *s"], span: tuple[float, float], terms: Terms,
    chance: torch.Generator,
) -> Float[Tensor, ""]:  # fmt: skip
    """The error and stiffness terms of the kept steps, ts and xs NaN beyond a sample's last."""
    method, b = _check_method(net.solver, terms), len(xs)
    who, j = _steps_of(ts, span, chance if terms.sampled else None)
    t, dt = ts[who, j].detach(), (ts[who, j + 1] - ts[who, j]).detach()
    x = xs[who, j]
    f = BoundField(net.field)
    h = dt.to(x.dtype).reshape(-1, *(1,) * (x.dim() - 1))
    step = method.step(f, t, x, dt, h, f(t, x), method.start(f, t, x))  # type: ignore[arg-type]
    total = x.new_zeros(())
    if terms.error > 0.0:
        assert step.error is not None
        total = total + terms.error * (_norm(step.error) * dt.abs().to(x.dtype)).sum() / b
    if terms.stiffness > 0.0:
        slopes, states = step.stages[-1] - step.extra.slope, step.x - step.extra.x
        total = total + terms.stiffness * (_norm(slopes) / _norm(states)).sum() / b
    return total


def _steps_of(
    ts: Float[Tensor, "b k"], span: tuple[float, float], chance: torch.Generator | None
) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """Sample and number of every kept step; with `chance` of one step a sample."""
    kept = torch.isfinite(ts[:, 1:])
    if chance is None:
        who, j = kept.nonzero(as_tuple=True)
        return who, j
    t0, t1 = span
    time = t0 + (t1 - t0) * torch.rand(len(ts), 1, generator=chance, dtype=ts.dtype).to(ts.device)
    passed = (ts[:, 1:] < time) if t1 > t0 else (ts[:, 1:] > time)  # NaN is never passed
    return torch.arange(len(ts), device=ts.device), (passed & kept).sum(1).minimum(kept.sum(1) - 1)


def _norm(v: Float[Tensor, "n *s"]) -> Float[Tensor, " n"]:
    """Euclidean, with a floor below which its gradient would be a division by zero: a field that is constant has no error."""
    return (v.flatten(1).square().sum(1) + torch.finfo(v.dtype).tiny).sqrt()
