"""Backward differentiation: order 1 to 5 and history per trajectory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from odebridge.core.protocols import Counts, Step, System
from odebridge.core.result import Result
from odebridge.core.shapes import per_sample, tree_map
from odebridge.linalg.structure import over_mass, times_mass
from odebridge.methods.history import backward_differences, combined, divided, powers
from odebridge.methods.implicit import (
    Held,
    differentiated,
    hold,
    left,
    newton,
    on_own_terms,
    one_clock,
    one_size,
    rounds,
    singular,
    with_second_chance,
)

TOP = 5
# Shampine & Reichelt 1997, table 1: kappa of the numerical differentiation formulas; 0 everywhere is plain BDF.
KAPPA = (0.0, -37 / 200, -1 / 9, -0.0823, -0.0415, 0.0)
GAMMA = (0.0, *(sum(1.0 / j for j in range(1, k + 1)) for k in range(1, TOP + 2)))
LEADING = tuple((1.0 - kappa) * gamma for kappa, gamma in zip(KAPPA, GAMMA, strict=False))
ERROR = tuple(kappa * gamma + 1.0 / (k + 1) for k, (kappa, gamma) in enumerate(zip((*KAPPA, 0.0), GAMMA, strict=True)))
# A change of order must pay: factors of the candidates are divided by these (ode15s: 1.3, 1.2, 1.4).
BIAS = (1.3, 1.2, 1.4)


class Past(NamedTuple):
    """What is remembered from step to step."""

    held: Held | None
    ts: Float[Tensor, " b k"]  # times of earlier points, newest first, the present one not among them
    xs: Float[Tensor, "b k *s"]
    points: Int[Tensor, " b"]  # how many of them there are
    order: Int[Tensor, " b"]  # of the next step
    since: Int[Tensor, " b"]  # kept steps at this order


class Pass(NamedTuple):
    """One solve for the new point."""

    d: Float[Tensor, "b *s"]  # new point minus predicted one
    held: Held
    ok: Bool[Tensor, " b"]
    rate: Float[Tensor, " b"]
    theta: Float[Tensor, " b"]
    cost: Counts


@dataclass(frozen=True)
class Bdf:
    """M (alpha_k d + sum_(m=1)^k gamma_m D_m) = h f(t + h, x1),  x1 = sum_(m=0)^k D_m + d,  gamma_m = 1 + ... + 1/m.

    D_m are backward differences, on a grid of spacing h, of the polynomial through the last k + 1 points, whatever their
    spacing was: fixed leading coefficients alpha_k = (1 - kappa_k) gamma_k, so that factors are kept while h is. With kappa_k
    of Shampine & Reichelt these are the NDF. The error is (kappa_k gamma_k + 1/(k+1)) h^(k+1)
    x^(k+1), the derivative by a divided difference; after k + 1 steps of one order those of order k - 1 and k + 1 are
    compared with it. Order, history and Newton's iteration belong to each trajectory. Shapes: x (b, *s); h (b,).
    Source: Shampine & Reichelt, SIAM J. Sci. Comput. 18, 1997.
    Caveat: orders 3 to 5 are not A-stable; for eigenvalues near the imaginary axis take 'rodas5p', 'kvaerno5' or max_order=2.
    Use: `ob.integrate(f, x0, (0.0, 1e5), method="bdf")`.
    """

    max_order: int = TOP
    law: str = "steady"
    iterations: int = 5  # corrections of one Newton iteration before it is given up
    takes_mass: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 1 <= self.max_order <= TOP:
            raise ValueError(f"Bdf: max_order is {self.max_order}; write 1 to {TOP}.")

    @property
    def name(self) -> str:
        """Name in the catalogue."""
        return "bdf"

    @property
    def order(self) -> int:
        """The highest order."""
        return self.max_order

    @property
    def error_order(self) -> int | None:
        """Order of the first error estimate; later ones bring theirs along."""
        return 1

    @property
    def dense_order(self) -> int:
        """Order of the interpolant in the first step; that of the step afterwards."""
        return 1

    def start(self, field: System, t: Any, x: Tensor) -> Past:
        """One point and order 1."""
        b = len(x)
        one = torch.ones(b, dtype=torch.int64, device=x.device)
        ts = torch.zeros(b, TOP + 1, dtype=torch.float64, device=x.device)
        return Past(None, ts, x.new_zeros(b, TOP + 1, *x.shape[1:]), one * 0, one, one * 0)

    def restart(self, memory: Past, mask: Bool[Tensor, " b"]) -> Past:
        """After a jump of the field: one point and order 1 again."""
        held = memory.held
        if held is not None:
            held = held._replace(here=held.here & ~mask, good=held.good & ~mask)
        points, since = (torch.where(mask, 0, v) for v in (memory.points, memory.since))
        return memory._replace(held=held, points=points, since=since, order=torch.where(mask, 1, memory.order))

    def step(self, field: System, t: Any, x: Tensor, dt: Any, h: Any, slope: Tensor, memory: Past) -> Step:
        """One step from (t, x)."""
        size, clock = one_size(self.name, h, x), one_clock(t, x).double()
        dt = torch.full_like(size, dt) if isinstance(dt, float) else dt
        k = torch.minimum(memory.order, memory.points.clamp_min(1))
        nodes, points = self._known(clock, x, dt, memory, over_mass(field.mass, slope))
        predicted, psi = self._predicted(nodes, points, k)
        tried = with_second_chance(self._pass, field, (clock, x, dt, size, predicted, psi, k), memory.held, x)
        x1 = predicted + tried.d
        error, ahead, order, since, lower = self._judged(field, x, x1, tried.d, nodes, points, k, memory)
        kept, retry = left(tried.held, tried.rate, tried.theta)
        # J was taken at the predicted end of this try: another try ends elsewhere, and after a failure it deserves another J.
        retry = retry._replace(here=torch.zeros_like(retry.here), good=retry.good & tried.ok)
        trouble = torch.where(tried.ok, int(Result.OK), int(Result.NEWTON_FAILED))
        trouble = torch.where(singular(tried.held.factors), int(Result.SINGULAR), trouble)
        again = memory._replace(
            held=retry, order=torch.where(tried.ok, lower, k), since=torch.where(lower < k, 0, memory.since)
        )
        # M x' at the end, from the formula: f itself would magnify what the iteration has left.
        alpha = torch.tensor(LEADING, dtype=x.dtype, device=x.device)[k]
        end = times_mass(field.mass, psi + per_sample(alpha, x) * tried.d) * per_sample(1.0 / size, x)
        return Step(
            x1, error, end, self._moved(kept, clock, x, memory, order, since), again, (nodes, points, k), trouble, tried.cost,
            found=(tried.d, k), order=k, ahead=ahead,
        )  # fmt: skip

    def _known(self, t: Tensor, x: Tensor, dt: Tensor, memory: Past, move: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Places of the known points in steps from the present one, (b, k), and their states, newest first.

        Where there is no earlier point the slope makes one, a step back along the tangent.
        """
        alone = memory.points == 0
        earlier = (memory.ts - t[:, None]) / dt.double()[:, None]
        first = torch.where(alone, -1.0, earlier[:, 0])[:, None]
        before = torch.where(per_sample(alone, x).bool(), x - per_sample(dt, x) * move, memory.xs[:, 0])
        nodes = torch.cat([torch.zeros_like(first), first, earlier[:, 1:]], 1)
        return nodes, [x, before, *memory.xs[:, 1:].unbind(1)]

    def _predicted(self, nodes: Tensor, points: list[Tensor], k: Tensor) -> tuple[Tensor, Tensor]:
        """sum_m D_m and sum_m gamma_m D_m."""
        weights = backward_differences(nodes[:, : TOP + 1], k, TOP)
        gamma = torch.tensor(GAMMA[: TOP + 1], dtype=weights.dtype, device=weights.device)
        sums = weights.sum(1), (weights * gamma[:, None]).sum(1)
        return combined(sums[0], points), combined(sums[1], points)

    def _pass(self, field: System, given: tuple[Tensor, ...], held: Held | None, anew: Tensor) -> Pass:
        t, x, dt, size, predicted, psi, k = given
        form = field.structure
        alpha = torch.tensor(LEADING, dtype=x.dtype, device=x.device)[k]
        shift = alpha / size
        end = t + dt
        held, made, factored = hold(field, end, predicted, shift, held, anew, form.factor)
        damp = per_sample(2.0 / (1.0 + shift / held.shift), x)
        tol = on_own_terms(field, x)
        inverse, per = per_sample(1.0 / size, x), per_sample(shift, x)

        def correction(d: Tensor) -> Tensor:
            residual = field(end, predicted + d) - times_mass(field.mass, psi * inverse + d * per)
            return damp * form.solve(field, held.factors, residual)

        kappa = torch.where(tol.rtol > 0, tol.rtol.double().sqrt().clamp_max(0.03), 0.03)
        floor = 10.0 * torch.finfo(x.dtype).eps / tol.rtol.double().clamp_min(1e-300)
        kappa = torch.maximum(kappa, floor.clamp_max(0.1))
        sound = ~singular(held.factors)
        solved = newton(
            correction, torch.zeros_like(x), tol.weights(x, predicted), held.rate, sound, kappa, rounds(field, self.iterations)
        )
        made_up = solved.iterations
        zero = torch.zeros_like(made_up)
        cost = Counts(zero, zero, made_up, made.long(), factored.long(), made_up, made_up)
        return Pass(solved.z, held, sound & solved.converged, solved.rate, solved.theta, cost)

    def _judged(
        self, field: System, x: Tensor, x1: Tensor, d: Tensor, nodes: Tensor, points: list[Tensor], k: Tensor, memory: Past
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Error of this step, error and order of the next one, steps at that order, and the order of another try."""
        tol = on_own_terms(field, x)
        with_new, all_points = torch.cat([torch.ones_like(nodes[:, :1]), nodes], 1), [x1, *points]
        constants = torch.tensor(ERROR, dtype=x.dtype, device=x.device)

        def estimate(order: Tensor) -> Tensor:
            weights = divided(with_new, order + 1) * constants[order].double()[:, None]
            return combined(weights, all_points)

        # The difference of order k + 1 with the new point is d over the product of the distances: no cancellation.
        j = torch.arange(nodes.shape[1], device=x.device)
        reach = torch.where(j[None] <= k[:, None], 1.0 - nodes, 1.0).log().sum(1)
        factorial = torch.tensor([math.lgamma(i + 2.0) for i in range(TOP + 1)], dtype=torch.float64, device=x.device)[k]
        error = per_sample(constants[k].double() * (factorial - reach).exp(), x) * d

        below, above = (k - 1).clamp_min(1), (k + 1).clamp_max(self.max_order)
        low, high = estimate(below), estimate(above)
        ratios = [tol.ratio(v, x, x1) for v in (low, error, high)]
        orders = [below, k, above]
        worth = [(-(r.clamp_min(1e-10).log()) / (o + 1)).exp() / bias for r, o, bias in zip(ratios, orders, BIAS, strict=True)]
        due = memory.since >= k  # this is step number k + 1 or later at this order
        # One more point than there are is needed for the estimate above.
        worth[0] = torch.where(due & (k > 1), worth[0], 0.0)
        worth[2] = torch.where(due & (k < self.max_order) & (memory.points >= k + 1), worth[2], 0.0)
        down, up = worth[0] > torch.maximum(worth[1], worth[2]), worth[2] > torch.maximum(worth[1], worth[0])
        order = torch.where(down, below, torch.where(up, above, k))
        ahead = torch.where(per_sample(down, x).bool(), low, torch.where(per_sample(up, x).bool(), high, error))
        since = torch.where(order == k, memory.since + 1, 0)
        # After a rejection: lower, if the order below could make a longer step.
        lower = torch.where((k > 1) & (ratios[0] < ratios[1]), below, k)
        return error, ahead, order, since, lower

    def _moved(self, held: Held | None, t: Tensor, x: Tensor, memory: Past, order: Tensor, since: Tensor) -> Past:
        """The memory after a kept step: the present point joins the earlier ones."""
        ts = torch.cat([t[:, None], memory.ts[:, :-1]], 1)
        xs = torch.cat([x[:, None], memory.xs[:, :-1]], 1)
        return Past(held, ts, xs, (memory.points + 1).clamp_max(TOP + 1), order, since)

    def replay(self, field: System, t: Any, x: Tensor, dt: Any, h: Any, slope: Tensor, memory: Past, found: Any) -> Step:
        """The step with its point as it was found, differentiated by the implicit function theorem; history with its graph."""
        d, k = found
        form, size, clock = field.structure, one_size(self.name, h, x), one_clock(t, x).double()
        dt = torch.full_like(size, dt) if isinstance(dt, float) else dt
        nodes, points = self._known(clock, x, dt, memory, over_mass(field.mass, slope))
        predicted, psi = self._predicted(nodes, points, k)
        alpha = torch.tensor(LEADING, dtype=x.dtype, device=x.device)[k]
        shift, end = alpha / size, clock + dt
        with torch.no_grad():
            jac, _ = form.differentiate(field, end, predicted + d)
            factors = tree_map(Tensor.detach, form.factor(field, jac, shift))

        def correction(v: Tensor) -> Tensor:
            moved = psi * per_sample(1.0 / size, x) + v * per_sample(shift, x)
            return form.solve(field, factors, field(end, predicted + v) - times_mass(field.mass, moved))

        new = differentiated(field, d, correction)
        x1 = predicted + new
        past = self._moved(None, clock, x, memory, k, k * 0)
        slope1 = times_mass(field.mass, psi + per_sample(alpha, x) * new) * per_sample(1.0 / size, x)
        return Step(x1, None, slope1, past, None, (nodes, points, k))

    def interpolant(self, x0: Tensor, slope0: Tensor, slope1: Tensor, h: Any, step: Step) -> tuple[Tensor, ...]:
        """The polynomial of degree k through the new point, the present one and those before."""
        nodes, points, k = step.stages
        places = torch.cat([nodes[:, :1], torch.ones_like(nodes[:, :1]), nodes[:, 1:]], 1)
        return powers(places, [points[0], step.x, *points[1:]], k, TOP)
