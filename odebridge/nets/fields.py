"""A stack of blocks as a field whose clock is the depth."""

from __future__ import annotations

from collections.abc import Iterable

from jaxtyping import Float
from torch import Tensor, nn

from odebridge.core.protocols import DepthField


class Layers(DepthField):
    """f(t, x) = blocks[k](x),  k = floor(per_unit t): piecewise constant in depth, `per_unit` blocks in one unit of it.

    Every block maps (b, *s) to (b, *s) and returns the increment alone, without the skip. The last block answers at the
    end too, so that a method may look at the end of the last step. ValueError without blocks, and beyond the end.
    Source: Weinan E, Commun. Math. Stat. 5, 2017 (a residual network is Euler's method).
    Caveat: as a function of t it jumps at every block; an adaptive method would see little else.
    Use: `ob.integrate(Layers(blocks), x, ob.Steps(len(blocks)), method="euler")`.
    """

    def __init__(self, blocks: Iterable[nn.Module], per_unit: int = 1) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.per_unit = per_unit
        if len(self.blocks) == 0:
            raise ValueError("Layers: give at least one block.")

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    def forward(self, t: float, x: Float[Tensor, "b *s"]) -> Float[Tensor, "b *s"]:
        """The increment of the block at depth t."""
        # 49 * (1 / 49) is below 1: without the nudge a node would belong to the block before it.
        depth, n = int(t * self.per_unit + 1e-9), len(self.blocks)
        if not 0 <= depth <= n:
            raise ValueError(f"Layers: there are {n} blocks, and the grid goes on to depth {t:g}; write over=ob.Steps({n}).")
        return self.blocks[min(depth, n - 1)](x)
