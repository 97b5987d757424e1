"""Residual branches: what a block adds to its input, without the skip."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

Norm = Callable[[int], nn.Module]  # channels -> a layer that normalises them


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm with 8 groups, or as many as divide the channels: each sample alone, so that it may sit in an ODE."""
    return nn.GroupNorm(max(g for g in range(1, 9) if channels % g == 0), channels)


NORMS: dict[str, Norm] = {"batch": nn.BatchNorm2d, "group": group_norm}


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size at stride 1. No bias, a BatchNorm follows or precedes."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


def _convs(inputs: int, outputs: int, stride: int, bottleneck: bool) -> list[nn.Conv2d]:
    if not bottleneck:
        return [conv(inputs, outputs, 3, stride), conv(outputs, outputs, 3)]
    narrow = outputs // 4
    return [conv(inputs, narrow, 1), conv(narrow, narrow, 3, stride), conv(narrow, outputs, 1)]


class PreActBranch(nn.Sequential):
    """BN-ReLU-conv, twice 3x3 (basic) or 1x1, 3x3, 1x1 through a quarter of the channels (bottleneck).

    Shapes: (b, inputs, H, W) -> (b, outputs, H / stride, W / stride); outputs defaults to inputs; norm: what stands for BN.
    Source: He, Zhang, Ren & Sun, ECCV 2016, arXiv 1603.05027. Caveat: it ends in a convolution, so nothing bounds the scale of
    the increment, and the network needs BN-ReLU before its readout. Use: `Stage([PreActBranch(16) for _ in range(9)])`.
    """

    def __init__(
        self, inputs: int, outputs: int | None = None, *, stride: int = 1, bottleneck: bool = False, norm: Norm = nn.BatchNorm2d
    ) -> None:  # fmt: skip
        layers: list[nn.Module] = []
        for c in _convs(inputs, outputs or inputs, stride, bottleneck):
            layers += [norm(c.in_channels), nn.ReLU(), c]
        super().__init__(*layers)


class PostActBranch(nn.Sequential):
    """conv-BN(-ReLU), twice 3x3 (basic) or 1x1, 3x3, 1x1 through a quarter of the channels (bottleneck); ends in BN.

    The ReLU after the addition belongs to the step (`after`), not to the branch. Shapes: (b, inputs, H, W) ->
    (b, outputs, H / stride, W / stride); outputs defaults to inputs.
    Source: He, Zhang, Ren & Sun, CVPR 2016, arXiv 1512.03385; the stride sits on the 3x3 convolution, as in the CIFAR code of
    the StepNet authors' group. Use: `Stage([PostActBranch(16) for _ in range(9)], after=torch.relu)`.
    """

    def __init__(
        self, inputs: int, outputs: int | None = None, *, stride: int = 1, bottleneck: bool = False, norm: Norm = nn.BatchNorm2d
    ) -> None:  # fmt: skip
        layers: list[nn.Module] = []
        for c in _convs(inputs, outputs or inputs, stride, bottleneck):
            layers += [c, norm(c.out_channels), nn.ReLU()]
        super().__init__(*layers[:-1])
