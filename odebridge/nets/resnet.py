"""Residual networks for images, in two styles, with any step controller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from odebridge.control.compose import PerStep
from odebridge.core.names import lookup
from odebridge.core.protocols import Method
from odebridge.nets.branches import NORMS, Norm, PostActBranch, PreActBranch, conv
from odebridge.nets.continuous import ContinuousStage
from odebridge.nets.depth import Interpolated, Tied
from odebridge.nets.gates import Gates, gates_of, per_block, shared
from odebridge.nets.stage import After, Entered, Stage, Transition


@dataclass(frozen=True)
class Style:
    """What differs between the styles of residual network: where the activations sit."""

    branch: type[PreActBranch] | type[PostActBranch]
    after: After | None  # applied to the sum of skip and increment
    stem: Callable[[int, Norm], list[nn.Module]]  # what follows the first convolution
    carry: Callable[[int, int, int, Norm], nn.Module]  # the skip of a block that changes space
    head: Callable[[int, Norm], list[nn.Module]]  # what precedes the readout


def _normalised(channels: int, norm: Norm) -> list[nn.Module]:
    return [norm(channels), nn.ReLU()]


def _nothing(_channels: int, _norm: Norm) -> list[nn.Module]:
    return []


def _projection(inputs: int, outputs: int, stride: int, _norm: Norm) -> nn.Module:
    return conv(inputs, outputs, 1, stride)


def _normalised_projection(inputs: int, outputs: int, stride: int, norm: Norm) -> nn.Module:
    return nn.Sequential(conv(inputs, outputs, 1, stride), norm(outputs))


STYLES: dict[str, Style] = {
    "preact": Style(PreActBranch, None, _nothing, _projection, _normalised),
    "paper": Style(PostActBranch, torch.relu, _normalised, _normalised_projection, _nothing),
}


WEIGHTS = ("layers", "tied", "linear")  # how the weights of a stage vary over its depth


@dataclass(frozen=True)
class Scheme:
    """How a stage of n blocks goes through its depth n: by which steps, with which weights.

    weights "layers": block k from depth k to k + 1, n steps. "tied": one block at every depth; "linear": n blocks at the depths
    0 ... n - 1 and linear between them; then steps, n if None, may be as many as one likes, and rtol makes them adaptive, for
    every sample its own. Source: see `Layers`, `Tied` and `Interpolated`.
    """

    method: str | Method = "euler"
    weights: str = "layers"
    steps: int | None = None
    rtol: float | None = None

    def __post_init__(self) -> None:
        lookup("depth_weights", self.weights, dict.fromkeys(WEIGHTS))
        if self.weights == "layers" and (self.steps, self.rtol) != (None, None):
            raise ValueError(
                f"depth_weights: 'layers' jump at every block, so there is one step a block; for steps={self.steps!r} and "
                f"rtol={self.rtol!r} write 'tied' or 'linear'."
            )

    def stage(self, branch: Callable[[], nn.Module], n: int, gates: Gates, channels: int, after: After | None) -> nn.Module:
        """The stage of n branches; of one, where they are tied."""
        if self.weights == "layers":
            return Stage([branch() for _ in range(n)], per_block(gates, channels, n), method=self.method, after=after)
        field = Tied(branch()) if self.weights == "tied" else Interpolated([branch() for _ in range(n)])
        law = per_block(gates, channels, 1)
        law = law.controllers[0] if isinstance(law, PerStep) else law
        return ContinuousStage(field, n, method=self.method, steps=self.steps, rtol=self.rtol, controller=law)


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
    *,
    depth_weights: str = "layers",
    steps: int | None = None,
    rtol: float | None = None,
    norm: str | None = None,
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
    method: of the steps, such as "euler", "heun" or "rk4". depth_weights: "layers", a block a step; "tied", one block for all
    depths of a stage, or "linear", blocks between which the weights are interpolated: stages of continuous depth (only in style
    "preact"), with `steps` equal steps each instead of one a block, or, with rtol, steps that every sample finds for itself,
    such as by method="dopri5". norm: "batch" | "group"; None: "group" for continuous depth, where BatchNorm would mix depths.
    Shapes: (b, in_channels, H, W) -> (b, classes), any H, W of at least 4 stem strides; 8x8 digits run on 8, 4 and 2 pixels.
    Use: `resnet(depth=164, controller="se", in_channels=3, classes=100, style="paper")`.
    """
    look, scheme = lookup("network style", style, STYLES), Scheme(method, depth_weights, steps, rtol)
    bottleneck, n = _blocks(depth, bottleneck)
    normalise = lookup("norm", norm or ("batch" if depth_weights == "layers" else "group"), NORMS)
    if depth_weights != "layers" and look.after is not None:
        raise ValueError(f"depth_weights: {depth_weights!r} needs style='preact'; in {style!r} a ReLU ends every step.")
    own = [] if isinstance(stem, nn.Module) else [_stem(in_channels, width, stem), *look.stem(width, normalise)]
    first = stem if isinstance(stem, nn.Module) else nn.Sequential(*own)
    return _network(first, own, (n, n, n), width, classes, bottleneck, look, gates_of(controller), scheme, normalise)


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
    own = [nn.Conv2d(in_channels, 64, 7, 2, padding=3, bias=False), *look.stem(64, nn.BatchNorm2d)]
    own.append(nn.MaxPool2d(3, 2, padding=1))
    gates, scheme = gates_of(controller), Scheme(method)
    return _network(nn.Sequential(*own), own, counts, 64, classes, bottleneck, look, gates, scheme, nn.BatchNorm2d)


def _network(
    first: nn.Module, own: list[nn.Module], counts: tuple[int, ...], width: int, classes: int, bottleneck: bool, look: Style,
    gates: Gates, scheme: Scheme, norm: Norm,
) -> ResNet:  # fmt: skip
    """Stem, stages of `counts` blocks each with twice the channels of the one before, readout. own: stem layers to draw."""
    body: list[nn.Module] = []
    channels = width
    for i, n in enumerate(counts):
        outputs, stride = width * 2**i * (4 if bottleneck else 1), 1 if i == 0 else 2
        steps = n
        entry: Transition | None = None
        if outputs != channels or stride != 1:
            carry = look.carry(channels, outputs, stride, norm)
            branch = look.branch(channels, outputs, stride=stride, bottleneck=bottleneck, norm=norm)
            entry = Transition(carry, branch, gates(outputs), after=look.after)
            channels, steps = outputs, n - 1
        make = partial(look.branch, channels, bottleneck=bottleneck, norm=norm)
        if entry is not None and steps and scheme.weights == "layers" and shared(entry.controller):
            blocks = [make() for _ in range(steps)]
            body.append(Entered(entry, Stage(blocks, entry.controller, method=scheme.method, after=look.after)))
            continue
        if entry is not None:
            body.append(entry)
        if steps:
            body.append(scheme.stage(make, steps, gates, channels, look.after))

    head = nn.Sequential(*look.head(channels, norm), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
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
