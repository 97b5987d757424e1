"""How a family of systems spreads around its nominal one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from odebridge.core.shapes import tree_map

if TYPE_CHECKING:
    from odebridge.problems.base import Problem


@dataclass(frozen=True)
class Spread:
    """How a family of systems spreads around its nominal one. With N normal and U uniform on [-1, 1], per component,

        x0 -> x0 exp(x0_log N) + x0_add U,    args -> args exp(args_log N),

    and with args_range=(low, high) the size of each parameter is log-uniform in that range instead, its sign kept.
    Tuples hold one number per component of x0, or per entry of args when that is one tensor.
    """

    x0_log: float | tuple[float, ...] = 0.0
    x0_add: float | tuple[float, ...] = 0.0
    args_log: float | tuple[float, ...] = 0.0
    args_range: tuple[float, float] | None = None

    def __call__(self, problem: Problem, b: int, generator: torch.Generator) -> tuple[Tensor, Any]:
        """Initial values (b, n) and parameters of b systems. Row i is the same for every b > i."""
        x0, used = problem.x0.detach(), 2 * problem.x0.numel()
        sizes: list[int] = []
        tree_map(lambda v: sizes.append(v.numel() if v.is_floating_point() else 0), problem.args)
        # One uniform number per unknown, trajectory by trajectory: torch.randn would mix them up when b changes.
        u = torch.rand(b, used + sum(sizes), generator=generator, dtype=torch.float64)
        normal = torch.special.ndtri(u.clamp(1e-12, 1 - 1e-12))

        def as_row(v: Any) -> Tensor:
            return torch.tensor(v, dtype=torch.float64)

        n = x0.numel()
        factor = torch.exp(as_row(self.x0_log) * normal[:, :n])
        shift = as_row(self.x0_add) * (2 * u[:, n:used] - 1)
        start = (factor.to(x0.device) * x0 + shift.to(x0.device)).to(x0.dtype)

        def draw(v: Tensor) -> Tensor:
            nonlocal used
            if not v.is_floating_point():
                return v.expand(b, *v.shape).clone()
            columns = slice(used, used + v.numel())
            used += v.numel()
            if self.args_range is None:
                sized = torch.exp(as_row(self.args_log) * normal[:, columns])
            else:
                low, high = map(math.log, self.args_range)
                sized = torch.exp(low + (high - low) * u[:, columns])
            base = v.detach() if self.args_range is None else v.detach().sign()
            return (sized.reshape(b, *v.shape).to(v.device) * base).to(v.dtype)

        return start, tree_map(draw, problem.args)
