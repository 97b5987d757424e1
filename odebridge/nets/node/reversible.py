"""Residual networks whose steps can be undone: their backward pass needs no stored activations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

Pair = tuple[Tensor, Tensor]


class MomentumStep(nn.Module):
    """v' = gamma v + (1 - gamma) f(x),  x' = x + v'. Undone: x = x' - v',  v = (v' - (1 - gamma) f(x)) / gamma.

    f: the block, (b, *s) -> (b, *s), an increment. ValueError for gamma outside (0, 1): at 0 it is a residual block, which
    forgets. Source: Sander, Ablin, Blondel & Peyre, Momentum residual neural networks, ICML 2021, arXiv 2102.07870.
    Caveat: undoing multiplies rounding errors of v by 1 / gamma, so gamma^depth should stay far above the rounding.
    """

    def __init__(self, block: nn.Module, gamma: float = 0.9) -> None:
        super().__init__()
        if not 0.0 < gamma < 1.0:
            raise ValueError(f"MomentumStep: gamma must be in (0, 1), got {gamma!r}; for 0 use a `Stage`.")
        self.block, self.gamma = block, gamma

    def forward(self, x: Tensor, v: Tensor) -> Pair:
        """One step."""
        v = self.gamma * v + (1.0 - self.gamma) * self.block(x)
        return x + v, v

    def inverse(self, x: Tensor, v: Tensor) -> Pair:
        """The step undone."""
        x = x - v
        return x, (v - (1.0 - self.gamma) * self.block(x)) / self.gamma


class LeapfrogStep(nn.Module):
    """y_(j+1) = 2 y_j - y_(j-1) + h^2 f(y_j), on the pair (y_j, y_(j-1)): Stormer's method for y'' = f, its own inverse.

    f: the block, (b, *s) -> (b, *s). Source: Haber & Ruthotto, Stable architectures for deep neural networks, Inverse Problems
    34, 2017; Chang et al., AAAI 2018, arXiv 1709.03698. Caveat: differences grow like the depth, rounding with them.
    """

    def __init__(self, block: nn.Module, h: float = 1.0) -> None:
        super().__init__()
        self.block, self.h = block, h

    def forward(self, y: Tensor, before: Tensor) -> Pair:
        """One step."""
        return 2.0 * y - before + self.h**2 * self.block(y), y

    def inverse(self, y: Tensor, before: Tensor) -> Pair:
        """The step undone."""
        return before, 2.0 * before - y + self.h**2 * self.block(before)


class HamiltonianStep(nn.Module):
    """y' = y + h K1^T tanh(K1 z + b1),  z' = z - h K2^T tanh(K2 y' + b2). Undone in the other order with the other signs.

    K1, K2 (hidden, width). Shapes: y, z (b, ..., width). Source: Chang et al., Reversible architectures for arbitrarily deep
    residual neural networks, AAAI 2018, arXiv 1709.03698 (two-layer Hamiltonian network).
    Caveat: forces are gradients, so that the motion neither grows nor dies, and nothing can be forgotten.
    """

    def __init__(self, width: int, hidden: int | None = None, h: float = 1.0) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, hidden or width), nn.Linear(width, hidden or width)
        self.h = h

    def _force(self, layer: nn.Linear, x: Tensor) -> Tensor:
        return self.h * functional.linear(torch.tanh(layer(x)), layer.weight.T)

    def forward(self, y: Tensor, z: Tensor) -> Pair:
        """One step."""
        y = y + self._force(self.first, z)
        return y, z - self._force(self.second, y)

    def inverse(self, y: Tensor, z: Tensor) -> Pair:
        """The step undone."""
        z = z + self._force(self.second, y)
        return y - self._force(self.first, z), z


class Reversible(nn.Module):
    """(a, b) -> steps[n-1](... steps[0](a, b)), from a = x and b = the start; the output is a.

    steps: modules with forward(a, b) and inverse(a, b), both to pairs. start: "zeros" (a velocity) or "same" (b = x).
    store False: the backward pass finds the activations by undoing the steps, so that memory does not grow with their number
    and each block runs three times instead of once; the gradient is that of autograd up to the rounding of the way back.
    drift: where that misses the start by more than this part of its largest entry the gradient would be wrong, and is refused.
    store True: plain autograd. Shapes: (b, *s) -> the same. ValueError without steps or for another start. RuntimeError for
    second derivatives without `store`, for weights that were changed between the passes, and beyond `drift`.
    Caveat: blocks must give the same numbers twice: no dropout, and BatchNorm would count each batch three times.
    Use: `Reversible([MomentumStep(mlp([8, 16, 8])) for _ in range(50)])`.
    """

    def __init__(
        self, steps: Iterable[nn.Module], *, start: str = "zeros", store: bool = False, drift: float = 1e-3
    ) -> None:  # fmt: skip
        super().__init__()
        self.steps, self.store, self.drift = nn.ModuleList(steps), store, drift
        if len(self.steps) == 0:
            raise ValueError("Reversible: give at least one step.")
        if start not in ("zeros", "same"):
            raise ValueError(f"Reversible: start must be 'zeros' or 'same', got {start!r}.")
        self.start = start

    def pair(self, x: Float[Tensor, "b *s"]) -> Pair:
        """Where the steps begin."""
        return x, torch.zeros_like(x) if self.start == "zeros" else x

    def forward(self, x: Float[Tensor, "b *s"]) -> Float[Tensor, "b *s"]:
        """The first of the pair after all steps."""
        a, b = self.pair(x)
        if self.store or not torch.is_grad_enabled():
            for step in self.steps:
                a, b = step(a, b)
            return a
        weights = [p for p in self.steps.parameters() if p.requires_grad]
        return _Undone.apply(self, a, b, *weights)[0]  # type: ignore[index]

    def undo(self, a: Tensor, b: Tensor) -> Pair:
        """The pair before all steps, from the pair after them."""
        for step in reversed(self.steps):
            a, b = step.inverse(a, b)  # type: ignore[operator]
        return a, b


class _Undone(torch.autograd.Function):
    """All steps as one function that keeps its last pair, and where it began to see whether the way back was a true one."""

    @staticmethod
    def forward(ctx: Any, net: Reversible, a: Tensor, b: Tensor, *weights: Tensor) -> Pair:
        first = a
        for step in net.steps:
            a, b = step(a, b)
        ctx.net, ctx.weights = net, weights
        ctx.versions = [w._version for w in weights]
        ctx.save_for_backward(a, b, first)
        return a, b

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        if [w._version for w in ctx.weights] != ctx.versions:
            raise RuntimeError(
                "Reversible: weights were changed between forward and backward pass, so the steps cannot be undone."
            )
        (a, b, first), (ga, gb) = ctx.saved_tensors, grads
        sums = {id(w): torch.zeros_like(w) for w in ctx.weights}
        for step in reversed(ctx.net.steps):
            with torch.no_grad():
                a, b = step.inverse(a, b)
            own = [p for p in step.parameters() if p.requires_grad]
            with torch.enable_grad():
                left, right = a.detach().requires_grad_(), b.detach().requires_grad_()
                ends = step(left, right)
                parts = torch.autograd.grad(ends, (left, right, *own), (ga, gb), allow_unused=True)
            ga, gb = (torch.zeros_like(a) if p is None else p for p in parts[:2])
            for weight, part in zip(own, parts[2:], strict=True):
                if part is not None:
                    sums[id(weight)] += part
        _check_way_back((a, b), ctx.net.pair(first), ctx.net)
        return None, ga, gb, *(sums[id(w)] for w in ctx.weights)


def _check_way_back(reached: Pair, began: Pair, net: Reversible) -> None:
    scale = max(float(v.abs().max()) for v in began)
    off = max(float((r - v).abs().max()) for r, v in zip(reached, began, strict=True)) / (scale or 1.0)
    if not off <= net.drift:  # NaN too
        raise RuntimeError(
            f"Reversible: undoing {len(net.steps)} steps missed the first state by {off:.1g} of its size, so the gradient "
            "would be wrong: rounding errors grow on the way back. Use store=True, float64, fewer steps, or gamma nearer to 1."
        )
