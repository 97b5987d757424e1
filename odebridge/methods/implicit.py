"""What implicit methods share: one step size per trajectory, and Newton's iteration on every trajectory's own terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from odebridge.core.derivatives import first_only
from odebridge.core.protocols import System
from odebridge.core.shapes import take, tree_map
from odebridge.core.tolerance import Tolerance, rms


def one_size(name: str, h: Any, x: Tensor) -> Float[Tensor, " b"]:
    """The step as one number per trajectory, whether it came as a float (a grid) or as (b, 1, ..., 1) (a span)."""
    if isinstance(h, Tensor) and h.numel() != len(x):
        raise ValueError(
            f"controller: method {name!r} solves a system with the step in it, so it needs one step a trajectory, not "
            f"{tuple(h.shape)}; per-channel steps work with explicit methods such as 'euler' or 'heun'."
        )
    return (torch.full((len(x),), h, dtype=x.dtype, device=x.device) if isinstance(h, float) else h).reshape(len(x))


def one_clock(t: Any, x: Tensor) -> Float[Tensor, " b"]:
    """The clock as (b,)."""
    return torch.full((len(x),), t, dtype=x.dtype, device=x.device) if isinstance(t, float) else t


def rounds(field: System, limit: int) -> int:
    """How many corrections an iteration may take: on a grid, where no shorter step can help, five times as many."""
    return limit if field.tol is not None else 5 * limit


def on_own_terms(field: System, x: Tensor) -> Tolerance:
    """The tolerances of the solve; on a grid, where nobody gives any, those of a hundred roundings or so."""
    if field.tol is not None:
        return field.tol
    tight = torch.full((len(x),), 1e4 * torch.finfo(x.dtype).eps, dtype=x.dtype, device=x.device)
    return Tolerance(tight, tight.reshape(-1, *(1,) * (x.dim() - 1)))


ONCE = (
    "gradient: the stages of an implicit method are differentiated once, by the implicit function theorem; for second "
    "derivatives (create_graph=True, torch.func.jacrev or hessian) over a span write gradient=ob.Replay(derivatives=2), or use "
    "a Rosenbrock or an explicit method."
)


def differentiated(field: System, found: Tensor, correction: Callable[[Tensor], Tensor]) -> Tensor:
    """What Newton's iteration has found, with its derivatives by the implicit function theorem.

    correction(z) = -W^-1 G(z, p) with W the Jacobian of G at the solution, taken as a constant. One correction has the first
    derivative dz/dp = -W^-1 dG/dp; each further one gains an order, since with W exact the iteration contracts like the
    distance itself. The value stays as it was found, to the bit. `field.derivatives` says how many are wanted.
    """
    z = found.detach()
    for _ in range(field.derivatives):
        move = correction(z)
        z = z + (move - move.detach())
    return first_only(z, ONCE) if field.derivatives == 1 else z


class Held(NamedTuple):
    """A Jacobian and its factors, per trajectory, with what is known of their worth."""

    jac: Any  # in the form of the field's structure
    factors: Any
    shift: Float[Tensor, " b"]  # the shift of the factors
    here: Bool[Tensor, " b"]  # J belongs to the point where the next try starts
    good: Bool[Tensor, " b"]  # J served well enough to be used again
    rate: Float[Tensor, " b"]  # how well Newton's iteration has converged with it


TRUST = 1e-2  # the best rate that is believed before it is measured
# The largest rate by which a first correction is judged. A J that is quite wrong can make all corrections tiny, and only two of
# them show it: BDF once slid along van der Pol's slow branch with y fixed, at h = 1000, on first corrections alone.
BELIEVED = 0.3
NOTHING = 1e-7  # of the tolerance: corrections that are rounding errors do not get smaller
FAR = 0.2  # relative change of the shift beyond which the factors are made anew (OrdinaryDiffEq.jl: 1/5, CVODE: 0.3)
SLOW = 0.1  # convergence rate beyond which J is made anew for the next step


def hold(
    field: System, t: Tensor, x: Tensor, shift: Tensor, held: Held | None, anew: Bool[Tensor, " b"], factor: Callable[..., Any]
) -> tuple[Held, Tensor, Tensor]:
    """J where `anew` (b,) says so and factors where J or the shift has changed; returns what is held and both masks.

    Only the trajectories in need are computed, gathered out of the batch. factor(field, jac, shift) makes the factors.
    """
    own = getattr(field.structure, "renewed", None)  # the compiled loop's, which decides for each trajectory in the kernel
    if held is None or (torch.compiler.is_compiling() and own is None):
        everyone = torch.ones_like(anew)
        jac, _ = field.structure.differentiate(field, t, x)
        rate = torch.ones_like(shift, dtype=torch.float64)
        return Held(jac, factor(field, jac, shift), shift, everyone, everyone, rate), everyone, everyone
    moved = anew | ((shift / held.shift - 1.0).abs() > FAR)
    if own is None:
        jac, factors = _renewed(field, t, x, shift, held, anew, moved, factor)
    else:
        jac, factors = own(field, t, x, shift, held.jac, held.factors, anew, moved)
    # An old J spoils the iteration the more the longer the step: what was measured at a short one says little of a long one.
    rate = torch.where(anew, 1.0, held.rate)
    rate = torch.where(moved & ~anew, (rate * (held.shift / shift).abs().clamp_min(1.0)).clamp_max(1.0), rate)
    of = torch.where(moved, shift, held.shift)
    return Held(jac, factors, of, held.here | anew, held.good | anew, rate), anew, moved


def _renewed(
    field: System, t: Tensor, x: Tensor, shift: Tensor, held: Held, anew: Tensor, moved: Tensor, factor: Callable[..., Any]
) -> tuple[Any, Any]:
    jac, factors = held.jac, held.factors
    if bool(anew.any()):
        index = anew.nonzero()[:, 0]
        some = field if len(index) == len(x) else field.take(index)
        new, _ = field.structure.differentiate(some, t[index], x[index])
        jac = _put(jac, index, new)
    if bool(moved.any()):
        index = moved.nonzero()[:, 0]
        some = field if len(index) == len(x) else field.take(index)
        factors = _put(factors, index, factor(some, take(jac, index), shift[index]))
    return jac, factors


def _put(tree: Any, index: Tensor, new: Any) -> Any:
    """Rows `index` of every tensor replaced."""
    return tree_map(lambda old, rows: rows if len(rows) == len(old) else old.index_copy(0, index, rows), tree, new)


def left(held: Held, rate: Tensor, theta: Tensor) -> tuple[Held, Held]:
    """What is held after a try: for the next step, and for another try from the same point."""
    sound = ~singular(held.factors)  # a J that made a singular matrix may not be finite
    good = (theta <= SLOW) & sound
    kept = held._replace(here=torch.zeros_like(held.here), good=good, rate=rate)
    return kept, held._replace(here=held.here & sound, good=(held.here & sound) | good, rate=rate)


def singular(factors: Any) -> Bool[Tensor, " b"]:
    """Whether one of the matrices of a trajectory was singular."""
    parts: Any = (factors,) if hasattr(factors, "_fields") else factors
    out = parts[0].singular
    for part in parts[1:]:
        out = out | part.singular
    return out


def with_second_chance(run: Callable[..., Any], field: System, given: tuple[Any, ...], held: Held | None, like: Tensor) -> Any:
    """run(field, given, held, anew), and once more with a fresh J where Newton failed with one from elsewhere.

    So h is blamed only where J was that of the point itself. `run` returns a NamedTuple with held, ok and cost; a fifth
    argument of it says who is to iterate at all.
    """
    anew = torch.ones(len(like), dtype=torch.bool, device=like.device) if held is None else ~held.good
    first = run(field, given, held, anew)
    again = ~first.ok & ~first.held.here
    if torch.compiler.is_compiling():
        instead = getattr(field.structure, "instead", None)
        if held is None or instead is None:
            return first
        second = run(field, given, first.held, again, again)
        return instead(again, second._replace(cost=tree_map(torch.add, second.cost, first.cost)), first)
    if not bool(again.any()):
        return first
    index = again.nonzero()[:, 0]
    some = field if len(index) == len(like) else field.take(index)
    second = run(some, take(given, index), take(first.held, index), again[index])
    spent = take(first.cost, index)
    second = second._replace(cost=tree_map(torch.add, second.cost, spent))
    return _put(first, index, second)


class Newton(NamedTuple):
    """The outcome of an iteration, per trajectory."""

    z: Float[Tensor, "b *s"]
    converged: Bool[Tensor, " b"]
    iterations: Int[Tensor, " b"]  # corrections that were made
    rate: Float[Tensor, " b"]  # theta / (1 - theta) for the first correction of the next solve
    theta: Float[Tensor, " b"]  # largest quotient of two corrections; 0 if there was but one


def newton(
    correction: Callable[[Tensor], Tensor],
    z: Float[Tensor, "b *s"],
    weights: Float[Tensor, "b *s"],
    rate: Float[Tensor, " b"],
    active: Bool[Tensor, " b"],
    kappa: Any = 1e-2,
    limit: int = 10,
) -> Newton:
    """Iterate z <- z + correction(z) until theta / (1 - theta) |correction| <= kappa, theta = |new correction| / |last one|.

    Norms are rms(correction / weights), 1 = at tolerance, so kappa says which part of the tolerance the iteration may take.
    The first correction is judged by the rate that `rate` (b,) brings along, raised to the power 0.8, so that it fades to 1
    when it is never measured again (Hairer & Wanner II, IV.8). A trajectory has diverged when a correction is not finite, when
    theta >= 2, or when the iterations that are left cannot make it. Converged and given-up trajectories are frozen, so that
    none depends on the company it has. Rejected: diffrax 0.7.2, which reads "not yet converged" as divergence.
    """
    floor = torch.finfo(torch.float64).eps
    # A rate far below this is an accident of one solve; the next would take its first correction on trust.
    rate = (rate.clamp_min(TRUST).log() * 0.8).exp()
    eta = rate
    converged = torch.zeros_like(active)
    iterations = torch.zeros(len(z), dtype=torch.int64, device=z.device)
    worst, before = torch.zeros_like(rate), torch.ones_like(rate)
    for k in range(limit):
        if not torch.compiler.is_compiling() and not bool(active.any()):
            break
        delta = correction(z)
        size = rms(delta / weights).double()
        z = torch.where(active.reshape(-1, *(1,) * (z.dim() - 1)), z + delta, z)
        iterations = iterations + active
        lost = ~torch.isfinite(size)
        if k > 0:
            theta = size / before
            worst = torch.where(active, torch.maximum(worst, theta), worst)
            eta = torch.where(theta < 1.0, theta / (1.0 - theta).clamp_min(floor), torch.inf)
            hopeless = (theta.log() * (limit - 1 - k)).exp() * eta * size > kappa
            lost = lost | (theta >= 2.0) | hopeless
        done = eta * size <= kappa
        if k == 0:
            done = done & (eta <= BELIEVED)
        done = done | (size <= NOTHING)
        converged = converged | (active & done)
        active = active & ~done & ~lost
        before = torch.where(active, size, before)
    measured = worst / (1.0 - worst).clamp_min(floor)
    return Newton(z, converged, iterations, torch.where(iterations > 1, measured.clamp_max(1.0), rate), worst)
