"""StepNet, a reconstruction: the gate sees the state beside the slope."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from odebridge.control.attention.base import Attention, per_channel, pooled, squeeze_excite
from odebridge.core.names import lookup

EPS = 1e-5

Statistic = Callable[[Tensor], Tensor]  # (b, C, *space) -> (b, C)
Inputs = Callable[[Tensor, Tensor, Statistic], Tensor]  # x, slope, statistic -> (b, C) or (b, 2C)


def _spread(v: Float[Tensor, " b c *space"]) -> Float[Tensor, " b c"]:
    """sqrt(var + eps) over space; eps keeps the gradient of a constant map finite."""
    if v.dim() == 2:
        raise ValueError("StepNet statistic 'std' needs at least one spatial dimension; for x (b, C) use 'mean' or 'l2'.")
    return (v.var(tuple(range(2, v.dim())), correction=0) + EPS).sqrt()


def _size(v: Float[Tensor, " b c *space"]) -> Float[Tensor, " b c"]:
    """l2 norm over space, divided by the root of the number of positions so that it does not grow with the image."""
    if v.dim() == 2:
        return v.abs()
    positions = v[0, 0].numel()
    return torch.linalg.vector_norm(v, dim=tuple(range(2, v.dim()))) * positions**-0.5


def _slope(x: Tensor, slope: Tensor, statistic: Statistic) -> Tensor:  # noqa: ARG001
    return statistic(slope)


def _state(x: Tensor, slope: Tensor, statistic: Statistic) -> Tensor:  # noqa: ARG001
    return statistic(x)


def _both(x: Tensor, slope: Tensor, statistic: Statistic) -> Tensor:
    return torch.cat([statistic(slope), statistic(x)], 1)


def _ratio(x: Tensor, slope: Tensor, statistic: Statistic) -> Tensor:
    return ((statistic(slope).abs() + EPS) / (statistic(x).abs() + EPS)).log()


STATISTICS: dict[str, Statistic] = {"mean": pooled, "std": _spread, "l2": _size}
INPUTS: dict[str, tuple[int, Inputs]] = {  # how many numbers per channel, and which
    "f": (1, _slope),
    "x": (1, _state),
    "fx": (2, _both),
    "ratio": (1, _ratio),
}


class StepNet(Attention):
    """RECONSTRUCTION, not StepNet as published: a = sigmoid(W2 relu(W1 z + b1) + b2),  z = [s(slope); s(x)].

    The published abstract and figures say only that StepNet gates the residual branch by finer stiffness information than SE
    has (Huang, Liang, Qin, Zhong & Lin, ICCV 2023, arXiv 2308.09939); its equations are not public. Two things lead here: the
    paper's stiffness index |x' - x| / |x| needs the state beside the slope, which SE never sees; all the rest is as in SE.
    So the inputs can be exchanged, and `StepNet(C, inputs="f")` is SE:
      inputs     "fx" (default) | "f" | "x" | "ratio": z = log((|s(slope)| + eps) / (|s(x)| + eps)), eps = 1e-5
      statistic  "mean" (default) | "std" | "l2" (root mean square), each over space
    Shapes: x, slope (b, C, *space), z (b, C) or (b, 2C), a (b, C, 1, ..., 1). In a block that changes space x is the projected
    skip. ValueError for another name, and for "std" without a spatial dimension.
    Caveat: on ResNet164 and CIFAR-100 it adds 298,872 parameters where SE adds 202,104.
    Use: `ob.nets.resnet(depth=20, controller="stepnet")`.
    """

    def __init__(self, channels: int, reduction: float = 16, *, inputs: str = "fx", statistic: str = "mean") -> None:
        super().__init__()
        count, self._inputs = lookup("StepNet input", inputs, INPUTS)
        self._statistic = lookup("StepNet statistic", statistic, STATISTICS)
        self._names = inputs, statistic
        self.excite = squeeze_excite(count * channels, channels, reduction)

    def gate(self, x: Float[Tensor, " b c *space"], slope: Float[Tensor, " b c *space"]) -> Tensor:
        """One number per channel from slope and state."""
        return per_channel(self.excite(self._inputs(x, slope, self._statistic)), x)

    def extra_repr(self) -> str:
        """The choices, for print(model)."""
        return f"inputs={self._names[0]!r}, statistic={self._names[1]!r}"
