"""The same weights, finer steps: how far is a network from an ODE?"""

from __future__ import annotations

import copy
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from odebridge.core.over import Grid
from odebridge.core.protocols import Method
from odebridge.integrate import integrate
from odebridge.metrics.local import FrozenBlock
from odebridge.metrics.profile import profile
from odebridge.nets.stage import Stage


def refine(model: nn.Module, substeps: int = 8, *, method: str | Method = "euler", images: Tensor | None = None) -> nn.Module:
    """A copy of the network, with the same weights, that takes every residual step as `substeps` of 1/substeps its length.

    x' = a(x) f_k(x) over the depth of block k, weights frozen, gates asked again at every substep, and the ReLU after a sum at
    the end of each. One Euler substep is the network itself. What changes where steps change no more is the ODE behind the
    weights; a network that loses its accuracy on the way was a discrete map.
    Our networks need no `images`; in others residual blocks are found as in `profile`, by a few images (b, ...), and their
    increment is block(x) - x. The copy is in eval mode, its parameters and buffers are the model's own. ValueError for
    fewer than one substep, or a network without residual blocks.
    Source: Queiruga et al., arXiv 2008.02389, and Ott et al., ICLR 2021, ask the same of continuous-depth networks.
    Caveat: transitions between spaces stay as they are. Use: `ob.train.evaluate(refine(net, 8), data.test_x, data.test_y)`.
    """
    if substeps < 1:
        raise ValueError(f"refine: substeps must be at least 1, got {substeps!r}.")
    found = [name for name, m in model.named_modules() if isinstance(m, Stage)]
    if not found and images is None:
        raise ValueError("refine: the network has no Stage of ours; give a few images, by which residual blocks can be found.")
    found = found or list(profile(model, images).names)  # type: ignore[arg-type]
    shared = {id(v): v for v in (*model.parameters(), *model.buffers())}
    fine = copy.deepcopy(model, shared).eval()
    for name in found:
        inner = fine.get_submodule(name)
        part = FineStage(inner, substeps, method) if isinstance(inner, Stage) else FineBlock(inner, substeps, method)
        if name == "":
            return part.eval()
        parent, _, leaf = name.rpartition(".")
        setattr(fine.get_submodule(parent), leaf, part)
    return fine.eval()


class FineStage(nn.Module):
    """A stage whose blocks are fields, each integrated over its own depth. See `refine`."""

    def __init__(self, stage: Stage, substeps: int, method: str | Method) -> None:
        super().__init__()
        self.stage, self.substeps, self.method = stage, substeps, method

    def forward(self, x: Float[Tensor, "b *s"], memory: Any = None) -> Float[Tensor, "b *s"]:
        """The state after the last block."""
        stage, law = self.stage, self.stage.controller
        memory = law.start(x, None) if memory is None else memory
        over = Grid(tuple(i / (self.substeps * stage.field.per_unit) for i in range(self.substeps + 1)))
        for n in range(len(stage)):
            field = FrozenBlock(stage, n, memory)
            memory = field.left(x)
            x = integrate(field, x, over, method=self.method, after=stage.after).x1
        return x


class FineBlock(nn.Module):
    """A residual block of somebody else's, its increment block(x) - x taken as a field. See `refine`."""

    def __init__(self, block: nn.Module, substeps: int, method: str | Method) -> None:
        super().__init__()
        self.block, self.method = block, method
        self.over = Grid(tuple(i / substeps for i in range(substeps + 1)))

    def forward(self, x: Float[Tensor, "b *s"], *given: Any, **named: Any) -> Float[Tensor, "b *s"]:
        """The state after the block; what else it takes goes to every substep."""
        return integrate(lambda _t, y: self.block(y, *given, **named) - y, x, self.over, method=self.method).x1
