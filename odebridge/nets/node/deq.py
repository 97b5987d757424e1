"""A layer of infinite depth: the fixed point of a cell, where a weight-tied residual network comes to rest."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from odebridge.core.compiling import untraced
from odebridge.core.protocols import Counts
from odebridge.core.result import Failure, Result, Solution, SolveError
from odebridge.core.tolerance import rms
from odebridge.integrate.system import BoundField
from odebridge.linalg.jacobian import jacobian


class TanhCell(nn.Module):
    """f(z, x) = tanh(s W z + U x + b),  s = min(1, bound / |W|), |W| the largest sum of magnitudes in a row.

    With bound < 1 it is a contraction in the largest component, so that there is one fixed point, which attracts everything;
    None: s = 1, and training may lose the fixed point. Shapes: z (b, width), x (b, inputs) -> (b, width).
    """

    def __init__(self, inputs: int, width: int, bound: float | None = 0.95) -> None:
        super().__init__()
        self.inner, self.outer, self.bound = nn.Linear(width, width, bias=False), nn.Linear(inputs, width), bound

    def forward(self, z: Float[Tensor, "b w"], x: Float[Tensor, "b i"]) -> Float[Tensor, "b w"]:
        """The cell."""
        inner = self.inner.weight
        if self.bound is not None:
            inner = inner * (self.bound / inner.abs().sum(1).amax()).clamp_max(1.0)
        return torch.tanh(functional.linear(z, inner) + self.outer(x))


class DEQ(nn.Module):
    """y = head(z*),  z* = f(z*, x): where z' = f(z, x) - z comes to rest, by implicit Euler with steps that grow to infinity.

    Each step is (1/h + I - df/dz) dz = f - z from z = 0, h = 1; h grows as the residual falls, so that the last are Newton's.
    cell: f, (z (b, n), x (b, ...)) -> (b, n); width: n. z* is accepted when rms((f - z) / (atol + rtol |z|)) <= 1, rtol not
    below 100 roundings. The gradient is that of the implicit function theorem, u = (I - df/dz)^-T g, one dense linear solve a
    sample; nothing of the way is kept. A sample that is not there after `max_steps` raises `SolveError`, since the theorem says
    nothing about it. Shapes: (b, ...) -> those of the head. RuntimeError for second derivatives.
    Source: Bai, Kolter & Koltun, Deep equilibrium models, NeurIPS 2019; the steps are pseudo-transient continuation, Kelley &
    Keyes, SIAM J. Numer. Anal. 35, 1998. Caveats: the Jacobian is dense, for widths up to a hundred or so; a cell may have
    several fixed points, and none of them need be stable. Use: `DEQ(TanhCell(2, 16), 16, head=nn.Linear(16, 2))`.
    """

    def __init__(
        self, cell: Callable[[Tensor, Tensor], Tensor], width: int, *, head: nn.Module | None = None, rtol: float = 1e-5,
        atol: float = 1e-7, max_steps: int = 50,
    ) -> None:  # fmt: skip
        super().__init__()
        self.cell, self.width, self.head = cell, width, head or nn.Identity()
        self.rtol, self.atol, self.max_steps = rtol, atol, max_steps

    @torch.no_grad()
    def solve(self, x: Float[Tensor, "b *s"]) -> Solution:
        """The way to the fixed point, without a graph: x1 is z*, the counts are those of each sample."""
        b, kind = len(x), x.dtype
        f = BoundField(lambda _t, z, given: self.cell(z, given) - z, x.detach())
        z, one = x.new_zeros(b, self.width), torch.eye(self.width, dtype=kind, device=x.device)
        t, h, steps = x.new_zeros(b), x.new_ones(b), torch.zeros(b, dtype=torch.int64, device=x.device)
        rtol = max(self.rtol, 100 * torch.finfo(kind).eps)
        off = f(t, z)
        left = rms(off / (self.atol + rtol * z.abs()))
        for _ in range(self.max_steps):
            on = left > 1.0
            if not bool(on.any()):
                break
            matrix = (1.0 / h)[:, None, None] * one - jacobian(f, t, z)[0]
            step = torch.linalg.solve_ex(matrix, off[..., None])[0][..., 0]
            z = torch.where(on[:, None], z + step, z)  # samples at rest stay where they are
            off, before = f(t, z), left
            left = torch.where(on, rms(off / (self.atol + rtol * z.abs())), left)
            h = (h * (before / left).clamp(0.1, 100.0)).clamp(1e-3, 1e12)
            steps += on
        lost = ~(left <= 1.0)
        advice = (
            f"has not settled within max_steps={self.max_steps} steps; raise it, or the cell has no stable fixed point near"
        )
        failures = tuple(Failure(int(i), Result.NEWTON_FAILED, 0.0, float(h[i]), None, advice) for i in lost.nonzero()[:, 0])
        codes = torch.where(lost, int(Result.NEWTON_FAILED), int(Result.OK))
        counts = Counts(steps, 0, steps + 1, steps, steps, steps, 0)
        sol = Solution(torch.where(lost[:, None], torch.nan, z), counts, codes=codes, failures=failures, end=t.double())
        if failures:
            raise SolveError(sol)
        return sol

    def fixed_point(self, x: Float[Tensor, "b *s"]) -> Float[Tensor, "b n"]:
        """z*, with the implicit gradient."""
        if torch.compiler.is_compiling():  # the way there decides on data
            return untraced(self.fixed_point, x)
        rest = self.solve(x).x1.detach()
        z = self.cell(rest, x)
        if not z.requires_grad:
            return z
        held = x.detach()

        def implicit(g: Tensor) -> Tensor:
            if torch.is_grad_enabled() and g.requires_grad:
                raise RuntimeError("DEQ: has first derivatives only; the second ones of a fixed point are not implemented.")
            with torch.enable_grad():
                start = rest.clone().requires_grad_()
                end = self.cell(start, held)
                rows = [torch.autograd.grad(end[:, i].sum(), start, retain_graph=True)[0] for i in range(self.width)]
            system = torch.eye(self.width, dtype=g.dtype, device=g.device) - torch.stack(rows, 1)
            return torch.linalg.solve(system.mT, g[..., None])[..., 0]

        z.register_hook(implicit)
        return z

    def forward(self, x: Float[Tensor, "b *s"]) -> Float[Tensor, "b *r"]:
        """The head's view of the fixed point."""
        return self.head(self.fixed_point(x))
