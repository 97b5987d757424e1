"""What an attention module is: a gate a(x, slope), and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from odebridge.core.protocols import Observation
from odebridge.core.shapes import per_sample
from odebridge.core.tolerance import Tolerance


class Attention(nn.Module, ABC):
    """A step controller for networks: h = spacing * a(x, slope), one number per channel or finer.

    A subclass is built as `Cls(channels, reduction=16)` and writes `gate`, never the product with x: the loop multiplies, so
    that every step size can be logged. No error is looked at and no memory kept. x (b, C, *space) with any number of spatial
    dimensions, none included. On a grid only: steps that differ between channels have no common clock.
    Use: `ob.integrate(field, x, ob.Steps(9), method="euler", controller=SE(64))`.
    """

    shared: ClassVar[bool] = False  # one for all blocks of a stage, or one for each

    @abstractmethod
    def gate(self, x: Float[Tensor, " b c *space"], slope: Float[Tensor, " b c *space"]) -> Tensor:
        """The factor on the increment, in any shape that multiplies x: (b, c, 1, ..., 1) for one number per channel."""

    def start(self, x: Tensor, tol: Tolerance | None) -> Any:
        """No memory."""
        return None

    def forward(self, seen: Observation, memory: Any) -> tuple[Tensor, Any]:
        """The spacing times the gate; a spacing of 1 leaves no trace."""
        return _scaled(seen.h, self.gate(seen.x, seen.slope)), memory

    def accepts(self, error: Tensor, memory: Any) -> Tensor:
        """Scaled error at most 1; on a grid nobody asks."""
        return error <= 1.0


class RecurrentAttention(nn.Module, ABC):
    """An attention module with a memory that goes from block to block: a, memory' = gate(seen, memory).

    As `Attention` else. A subclass with `shared = True` is one module for all blocks of a stage.
    """

    shared: ClassVar[bool] = False

    @abstractmethod
    def start(self, x: Float[Tensor, " b c *space"], tol: Tolerance | None) -> Any:
        """The memory before the first block."""

    @abstractmethod
    def gate(self, seen: Observation, memory: Any) -> tuple[Tensor, Any]:
        """The factor on the increment, in any shape that multiplies x, and the memory for the next block."""

    def forward(self, seen: Observation, memory: Any) -> tuple[Tensor, Any]:
        """The spacing times the gate; a spacing of 1 leaves no trace."""
        a, memory = self.gate(seen, memory)
        return _scaled(seen.h, a), memory

    def accepts(self, error: Tensor, memory: Any) -> Tensor:
        """Scaled error at most 1; on a grid nobody asks."""
        return error <= 1.0


def _scaled(spacing: Tensor | float, a: Tensor) -> Tensor:
    h = per_sample(spacing, a) if isinstance(spacing, Tensor) else spacing
    return a if isinstance(h, float) and h == 1.0 else h * a


def pooled(v: Float[Tensor, " b c *space"]) -> Float[Tensor, " b c"]:
    """Mean over space, the global average pool; without spatial dimensions v itself."""
    if v.dim() == 2:
        return v
    space = tuple(range(2, v.dim()))
    # The gradient of a mean is written out at full size, that of a sum is a view; but a sum may be too large for float16.
    return v.mean(space) if v.dtype == torch.float16 else v.sum(space) / v.shape[2:].numel()


def per_channel(a: Float[Tensor, " b c"], x: Float[Tensor, " b c *space"]) -> Tensor:
    """One number per channel in the shape that multiplies x: (b, c) -> (b, c, 1, ..., 1)."""
    return a.reshape(a.shape + (1,) * (x.dim() - 2))


def squeeze_excite(inputs: int, channels: int, reduction: float) -> nn.Sequential:
    """sigmoid(W2 relu(W1 z + b1) + b2): inputs -> round(channels / reduction), at least 1 -> channels.

    The narrow width follows the gated channels, not the inputs, so that modules with more inputs stay comparable. A reduction
    below 1 widens: states of two or three numbers have nothing to squeeze.
    """
    if not reduction > 0:
        raise ValueError(f"reduction must be positive, got {reduction!r}.")
    narrow = max(1, round(channels / reduction))
    return nn.Sequential(nn.Linear(inputs, narrow), nn.ReLU(), nn.Linear(narrow, channels), nn.Sigmoid())
