"""Residual networks for images, in two styles, with any step controller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from odebridge.core.names import lookup
from odebridge.core.protocols import Method
from odebridge.nets.branches import PostActBranch, PreActBranch, conv
from odebridge.nets.gates import Gates, gates_of, per_block, shared
from odebridge.nets.stage import After, Entered, Stage, Transition


@dataclass(frozen=True)
class Style:
    """What differs between the styles of residual network: where the activations sit."""

    branch: type[PreActBranch] | type[PostActBranch]
    after: After | None  # applied to the sum of skip and increment
    stem: Callable[[int], list[nn.Module]]  # what follows the first convolution
    carry: Callable[[int, int, int], nn.Module]  # the skip of a block that changes space
    head: Callable[[int], list[nn.Module]]  # what precedes the readout


def _normalised(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU()]


def _nothing(_channels: int) -> list[nn.Module]:
    return []


def _projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    return conv(inputs, outputs, 1, stride)


def _normalised_projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


STYLES: dict[str, Style] = {
    "preact": Style(PreActBranch, None, _nothing, _projection, _normalised),
    "paper": Style(PostActBranch, torch.relu, _normalised, _normalised_projection, _nothing),
}


class ResNet(nn.Module):
    """logits = head(body(stem(x))); body is a sequence of `Stage` and `Transition`. Built by `resnet`."""

    def __init__(self, stem: nn.Module, body: nn.Sequential, head: nn.Module) -> None:
        super().__init__()
        self.stem, self.body, self.head = stem, body, head

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        """Logits of images."""
        return self.head(self.body(self.stem(x)))


def resnet(
    depth: int = 20,
    controller: str | Gates | None = None,
    in_channels: int = 3,
    classes: int = 10,
    width: int = 16,
    style: str = "preact",
    method: str | Method = "euler",
    stem: int | nn.Module = 1,
    bottleneck: bool | None = None,
) -> ResNet:
    """A residual network of three stages with width, 2 width and 4 width channels (four times that with bottleneck blocks).

    depth: 6 n + 2 with basic blocks, 9 n + 2 with bottleneck blocks, n blocks a stage. Numbers such as 164 are both; then
    bottleneck=None means basic below 164 and bottleneck from there, as in the literature. ValueError names the nearest depths.
    controller: None (every step is 1), a name of `ob.control.ATTENTION`, or a function of the channels, called once per block;
    a module made to be shared, such as DIA, is called once per stage and remembers across its blocks, the first one included.
    style: "preact" (He et al., ECCV 2016; the projecting skip takes the raw input), or "paper", the post-activation
    network of the StepNet authors' group: ReLU after each addition, convolutions drawn from N(0, 2 / (k k out)), BatchNorm 1/0.
    A block that changes channels or stride is a `Transition`; the others are steps: "paper" at depth 164 has 17, 17, 17.
    stem: the stride of the first convolution (3x3 at stride 1, else at least 4x4), or a module that gives `width` channels.
    Shapes: (b, in_channels, H, W) -> (b, classes), any H, W of at least 4 stem strides; 8x8 digits run on 8, 4 and 2 pixels.
    Use: `resnet(depth=164, controller="se", in_channels=3, classes=100, style="paper")`.
    """
    look = lookup("network style", style, STYLES)
    bottleneck, n = _blocks(depth, bottleneck)
    own = [] if isinstance(stem, nn.Module) else [_stem(in_channels, width, stem), *look.stem(width)]
    first = stem if isinstance(stem, nn.Module) else nn.Sequential(*own)
    return _network(first, own, (n, n, n), width, classes, bottleneck, look, gates_of(controller), method)


IMAGENET = {18: ((2, 2, 2, 2), False), 34: ((3, 4, 6, 3), False), 50: ((3, 4, 6, 3), True)}  # blocks a stage, bottleneck


def imagenet_resnet(
    depth: int = 50,
    controller: str | Gates | None = None,
    in_channels: int = 3,
    classes: int = 1000,
    style: str = "paper",
    method: str | Method = "euler",
) -> ResNet:
    """The residual network of 18, 34 or 50 layers for large images: four stages of 64, 128, 256 and 512 channels.

    A 7x7 convolution at stride 2 and a maximum over 3x3 at stride 2 go before the stages; all else, controllers and styles
    included, is as in `resnet`. With "paper", post-activation, it has the parameters of torchvision's. Shapes:
    (b, in_channels, H, W) -> (b, classes), H and W of 32 at least. ValueError for another depth.
    Source: He et al., CVPR 2016, Table 1, with the stride on the 3x3 convolution of a bottleneck.
    Caveat: no weights are shipped. Use: `imagenet_resnet(50, controller="se")`.
    """
    if depth not in IMAGENET:
        raise ValueError(f"imagenet_resnet: depth must be one of {', '.join(map(str, IMAGENET))}, got {depth!r}.")
    look, (counts, bottleneck) = lookup("network style", style, STYLES), IMAGENET[depth]
    own = [nn.Conv2d(in_channels, 64, 7, 2, padding=3, bias=False), *look.stem(64), nn.MaxPool2d(3, 2, padding=1)]
    return _network(nn.Sequential(*own), own, counts, 64, classes, bottleneck, look, gates_of(controller), method)


def _network(
    first: nn.Module, own: list[nn.Module], counts: tuple[int, ...], width: int, classes: int, bottleneck: bool, look: Style,
    gates: Gates, method: str | Method,
) -> ResNet:  # fmt: skip
    """Stem, stages of `counts` blocks each with twice the channels of the one before, readout. own: stem layers to draw."""
    body: list[nn.Module] = []
    channels = width
    for i, n in enumerate(counts):
        outputs, stride = width * 2**i * (4 if bottleneck else 1), 1 if i == 0 else 2
        steps = n
        entry: Transition | None = None
        if outputs != channels or stride != 1:
            carry = look.carry(channels, outputs, stride)
            branch = look.branch(channels, outputs, stride=stride, bottleneck=bottleneck)
            entry = Transition(carry, branch, gates(outputs), after=look.after)
            channels, steps = outputs, n - 1
        blocks = [look.branch(channels, bottleneck=bottleneck) for _ in range(steps)]
        if entry is not None and steps and shared(entry.controller):
            body.append(Entered(entry, Stage(blocks, entry.controller, method=method, after=look.after)))
            continue
        if entry is not None:
            body.append(entry)
        if steps:
            body.append(Stage(blocks, per_block(gates, channels, steps), method=method, after=look.after))

    head = nn.Sequential(*look.head(channels), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
    for module in nn.ModuleList([*own, *body]).modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")  # variance 2 / (k k out)
    return ResNet(first, nn.Sequential(*body), head)


def _stem(inputs: int, width: int, stride: int) -> nn.Conv2d:
    if stride < 1:
        raise ValueError(f"resnet: stem must be a stride of at least 1 or a module, got {stride!r}.")
    # A 3x3 kernel at stride 4 would never look at 7 of 16 pixels.
    kernel = 3 if stride == 1 else max(4, stride)
    return nn.Conv2d(inputs, width, kernel, stride, padding=(kernel - stride + 1) // 2, bias=False)


def _blocks(depth: int, bottleneck: bool | None) -> tuple[bool, int]:
    """Kind of block and number of blocks per stage."""
    layers = depth - 2
    if bottleneck is None:
        bottleneck = layers % 6 != 0 or (depth >= 164 and layers % 9 == 0)
    per_stage = 9 if bottleneck else 6
    if layers >= per_stage and layers % per_stage == 0:
        return bottleneck, layers // per_stage

    def near(step: int) -> str:
        below = max(1, layers // step)
        return f"{step * below + 2} and {step * (below + 1) + 2}"

    raise ValueError(
        f"resnet: depth must be 6n + 2 (basic blocks) or 9n + 2 (bottleneck blocks), got {depth!r}; "
        f"the nearest are {near(6)} (basic), {near(9)} (bottleneck)."
    )
