"""Neural ODEs for stiff kinetics: equations scaled to numbers near 1, and rates that span decades."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from odebridge.core.result import Solution
from odebridge.integrate import At, Replay
from odebridge.nets.node.fields import mlp
from odebridge.nets.node.solver import Solver

# Small systems: steps found by the compiled loop and made again as one batch; rodas5p has a Jacobian and no iteration.
STIFF = Solver("rodas5p", rtol=1e-3, atol=1e-5, gradient=Replay(at_once=True), more={"compile": True})


class Kinetics(nn.Module):
    """f_i(v) = r_i (exp(s p_i(z)) - exp(s l_i(z)) v_i),  z = log(max(v, 0) + floor) / s: production minus loss, both positive.

    p, l: one network with 2 dim outputs. A single linear layer would be mass action, one reaction for each production and loss.
    rates (dim,): r, the fastest rate seen in the data, so that training starts with the stiffness that the data have.
    Where v_i = 0, f_i > 0: the exact flow stays positive. Shapes: t unused, v (b, dim) -> (b, dim).
    Source: ours, after the form of chemical kinetics, y' = P(y) - L(y) y (Verwer, SIAM J. Sci. Comput. 15, 1994).
    Caveat: species below `floor` (in the unit of v) look alike. Use: `Kinetics(3, (16, 16), rates=rates)`.
    """

    rates: Tensor

    def __init__(
        self, dim: int, hidden: Sequence[int] = (16, 16), *, rates: Tensor | None = None, decades: float = 5.0,
        floor: float = 1e-6, dtype: torch.dtype | None = torch.float64,
    ) -> None:  # fmt: skip
        super().__init__()
        self.net = mlp([dim, *hidden, 2 * dim], "gelu", dtype=dtype)
        self.decades, self.floor = decades, floor  # s: an output of 1 is a factor exp(s)
        self.register_buffer("rates", torch.ones(dim, dtype=dtype) if rates is None else rates)

    def forward(self, t: Tensor, v: Float[Tensor, "b dim"]) -> Float[Tensor, "b dim"]:
        """Production minus loss."""
        z = torch.log(v.clamp_min(0.0) + self.floor) / self.decades
        made, lost = (self.decades * self.net(z)).chunk(2, -1)
        return self.rates * (torch.exp(made) - torch.exp(lost) * v)


class StiffNODE(nn.Module):
    """u' = f(u / y_scale) * y_scale / t_scale: the same as v' = f(v) in v = u / y_scale and the time t / t_scale.

    field: f(t, v), a module such as `Kinetics` or `MLPField`; it gets and returns numbers whose sizes do not depend on units.
    y_scale (dim,): the range of every species; t_scale: the length of the data. Ones: no scaling. log_time: v' is taken by
    log t, dv / dlog t = f(log t, v), from a first time above 0: a field that depends on the time, and is not stiff.
    solver: any method and gradient policy; its tolerances are those of v. Shapes: u0 (b, dim), times (k,) or (b, k), the
    start of each trajectory first -> (b, k, dim), NaN where a failed trajectory did not come.
    ValueError for scales that are not positive, and for log_time with a time that is not.
    Source: Kim, Ji, Deng, Ma & Rackauckas, Chaos 31 (2021) 093122.
    Caveat: it is right near the trajectories it was trained on; a + b + c = 1 is learned, not built in.
    Use: `StiffNODE(Kinetics(3, rates=r), y_scale, 1e5).path(u0, times)`.
    """

    y_scale: Tensor

    def __init__(
        self, field: nn.Module, y_scale: Tensor, t_scale: float, *, log_time: bool = False, solver: Solver = STIFF
    ) -> None:
        super().__init__()
        if not t_scale > 0 or not (y_scale.is_meta or bool((y_scale > 0).all())):
            raise ValueError(f"StiffNODE: scales must be positive, got y_scale={y_scale.tolist()}, t_scale={t_scale!r}.")
        self.field, self.solver, self.log_time, self.t_scale = field, solver, log_time, float(t_scale)
        self.register_buffer("y_scale", y_scale)

    def solve(self, u0: Float[Tensor, "b dim"], times: Float[Tensor, "*b k"], **more: Any) -> Solution:
        """The solve in v, with its statistics; a failed trajectory does not raise. Keywords are those of `integrate`."""
        clock = torch.as_tensor(times, dtype=torch.float64, device=u0.device) / self.t_scale
        if self.log_time:
            if not bool((clock > 0).all()):
                raise ValueError("StiffNODE: log_time needs times above 0; start from the first measured state.")
            clock = clock.log()
        ends = (clock[..., 0], clock[..., -1]) if clock.dim() == 2 else (float(clock[0]), float(clock[-1]))
        return self.solver.solve(self.field, u0 / self.y_scale, ends, save=At(clock), throw=False, **more)

    def path(self, u0: Float[Tensor, "b dim"], times: Float[Tensor, "*b k"]) -> Float[Tensor, "b k dim"]:
        """States at `times`, from u0 at the first of them."""
        xs = self.solve(u0, times).xs
        assert isinstance(xs, Tensor)
        return xs * self.y_scale


def normalised_mae(got: Tensor, wanted: Tensor, y_scale: Float[Tensor, " dim"]) -> Tensor:
    """Mean of |got - wanted| / y_scale over what was reached (not NaN); (..., dim) -> scalar, NaN if nothing was."""
    error = ((got - wanted) / y_scale).abs()
    return error[torch.isfinite(error)].mean()


def scales_of(times: Float[Tensor, " k"], values: Float[Tensor, "n k dim"]) -> tuple[Tensor, float, Tensor]:
    """Range of every species, length of the data, and the fastest rate of v = u / range by t / length between two times."""
    y_scale, t_scale = values.amax((0, 1)) - values.amin((0, 1)), float(times[-1])
    rates = (values.diff(dim=1) / y_scale / (times.diff() / t_scale)[:, None]).abs().amax((0, 1))
    return y_scale, t_scale, rates


def windows(k: int, length: int) -> Tensor:
    """Rows of indices (k - 1, k): from every time on for `length` intervals, the first row to the end; the last index repeated.

    Multiple shooting: every row starts from data, so that an early error does not spoil the rest of a trajectory.
    """
    start, offset = torch.arange(k - 1)[:, None], torch.arange(k)[None]
    reach = torch.full((k - 1, 1), length)
    reach[0] = k
    return torch.minimum(start + torch.minimum(offset, reach), torch.tensor(k - 1))
