"""NSI and step sizes of every residual block of a network, ours or anybody's, read by hooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from odebridge.integrate import Every
from odebridge.metrics.local import FrozenBlock, local_error
from odebridge.metrics.stiffness import nsi
from odebridge.metrics.variance import variance_shares
from odebridge.nets.mode import evaluating
from odebridge.nets.stage import Stage

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# What may follow the sum of skip and increment: nothing, or an activation.
ENDS: tuple[Callable[[Tensor], Tensor], ...] = (
    nn.Identity(), torch.relu, functional.silu, functional.gelu, functional.relu6, functional.hardswish, functional.mish,
    functional.elu, functional.leaky_relu,
)  # fmt: skip


@dataclass(frozen=True)
class Profile:
    """One row per sample, one column per residual block, in the order in which the network ran them; all on the CPU.

    steps[i] holds the step sizes of block i, (b, *gate) such as (b, C, 1, 1), or None where the gate is not ours to see.
    local_error, where it was asked for, is that of `metrics.local_error` for the block as a field.
    """

    names: tuple[str, ...]
    nsi: Float[Tensor, "b blocks"]
    steps: tuple[Tensor | None, ...]
    local_error: Float[Tensor, "b blocks"] | None = None

    @property
    def tns(self) -> Float[Tensor, " b"]:
        """Sum of NSI over the blocks."""
        return self.nsi.sum(1)

    @property
    def variance(self) -> dict[str, float] | None:
        """Shares of the variance of the step sizes, see `variance_shares`."""
        return variance_shares(self.steps)

    def plot(self, title: str = "") -> Figure:
        """NSI over the blocks: a thin line per sample (at most 100), the median, dashed the smallest and the largest sample.

        Below, the step sizes if there are any.
        """
        from odebridge.metrics.plot import plot_profile  # matplotlib is slow to import, and few profiles are plotted

        return plot_profile(self, title)


def compare(profiles: Mapping[str, Profile], title: str = "") -> Figure:
    """NSI over the blocks of several networks in one picture: medians, and dashed the smallest and the largest sample.

    profiles: by the name to show, of networks with the same blocks. ValueError for none, or for other blocks.
    Source: the style of the NSI figure of Huang et al., ICCV 2023. Use: `compare({"plain": profile(a, x), "SE": ...})`.
    """
    from odebridge.metrics.plot import plot_profiles  # matplotlib is slow to import, and few profiles are plotted

    return plot_profiles(profiles, title)


def profile(model: nn.Module, images: Tensor, *, errors: bool = False) -> Profile:
    """NSI of every residual block for every image, and the step sizes where the gates are ours.

    errors: the local error of every block as well, which costs 33 more evaluations of each.

    Our networks: every step of every `Stage`. Any other network: the innermost modules with a skip, found by what they do: the
    output has the shape of the input, and with all parameters of the module at 0 it returns its input, or the ReLU of it (or
    SiLU, GELU and their like). That
    finds basic, bottleneck and transformer blocks of torchvision, timm or your own, gates inside them or not, and leaves out
    plain stacks, gates and the projecting blocks, whose x' - x has no meaning.
    model: any nn.Module that takes `images` (b, ...), which are moved nowhere. Runs in eval mode without gradients; modes
    are restored and hooks removed, also after an error. ValueError if no block is found.
    Caveat: blocks whose weights are normalised (weight_norm, spectral_norm) are not found, and one with several inputs is read
    by its first. Costs one more pass over the blocks. Use: `ob.metrics.profile(model, images).plot()`.
    """
    stages = {name: m for name, m in model.named_modules() if isinstance(m, Stage)}
    inside = tuple(f"{name}." if name else "" for name in stages)
    others = {
        name: m
        for name, m in model.named_modules()
        if name not in stages and not name.startswith(inside) and any(m.children()) and any(True for _ in m.parameters())
    }
    found: list[tuple[str, Tensor, Tensor | None, Tensor | None]] = []  # block, its NSI (b,), its step sizes, its local error
    looking = False  # the model's own pass, or a test of one module, inside which the hooks are deaf

    def on_stage(name: str, stage: Stage, _module: nn.Module, args: tuple[Any, ...], _out: Any) -> None:
        if looking:
            return
        sol = stage.solve(*args, save=Every())
        assert sol.xs is not None
        assert sol.hs is not None
        index = nsi(sol.xs)
        memory = args[-1] if len(args) == 2 else stage.controller.start(args[0], None)
        for i in range(index.shape[1]):
            off, x = None, sol.xs[:, i]
            if errors:
                field = FrozenBlock(stage, i, memory)
                off, memory = local_error(field, 0.0, x, 1 / stage.field.per_unit, after=stage.after).cpu(), field.left(x)
            found.append((f"{name}[{i}]", index[:, i].cpu(), sol.hs[:, i].cpu(), off))

    def on_other(name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        nonlocal looking
        x = args[0] if args else None
        if looking or not isinstance(x, Tensor) or not isinstance(out, Tensor):
            return
        if out.shape != x.shape or not x.is_floating_point():
            return
        looking = True
        try:
            skips = _has_skip(module, x, args, kwargs)
        finally:
            looking = False
        if not skips:
            return
        looking = errors  # the block is run again
        try:
            rest = args[1:]
            off = local_error(lambda _t, y: module(y, *rest, **kwargs) - y, 0.0, x).cpu() if errors else None
        finally:
            looking = False
        found.append((name, nsi(torch.stack([x, out], 1))[:, 0].cpu(), None, off))

    with ExitStack() as stack:
        stack.enter_context(evaluating(model))
        stack.enter_context(torch.compiler.set_stance("force_eager"))  # a compiled graph would skip the hooks
        for name, stage in stages.items():
            stack.enter_context(stage.register_forward_hook(partial(on_stage, name, stage)))
        for name, module in others.items():
            stack.enter_context(module.register_forward_hook(partial(on_other, name), with_kwargs=True))
        model(images)

    # A wrapper around residual blocks passes the test too: keep the innermost.
    kept = [row for row in found if not any(_within(other, row[0]) for other, *_ in found)]
    if not kept:
        raise ValueError(
            "profile: no residual block found; give a network with blocks x + f(x) of equal shape, or odebridge's own."
        )
    names, index, steps, off = zip(*kept, strict=True)
    local = torch.stack(off, 1) if errors else None
    return Profile(tuple(_shown(name, model) for name in names), torch.stack(index, 1), tuple(steps), local)


def _within(inner: str, outer: str) -> bool:
    """Is the module named `inner` a part of the one named `outer`? The model itself has the name ""."""
    return inner != outer and (outer == "" or inner.startswith((f"{outer}.", f"{outer}[")))


def _shown(name: str, model: nn.Module) -> str:
    name = name.removeprefix("_orig_mod.")  # of a compiled model
    return type(model).__name__ + name if name == "" or name[0] == "[" else name


def _has_skip(module: nn.Module, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """With all parameters at 0, does the module return its input, or an activation of it?"""
    zeros = {name: torch.zeros_like(p) for name, p in module.named_parameters()}
    # Not x itself: where x is 0, as after a dead ReLU, every module would pass.
    probe = torch.linspace(-1.0, 1.5, x.numel(), dtype=x.dtype, device=x.device).reshape(x.shape)
    out = functional_call(module, zeros, (probe.clone(), *args[1:]), kwargs)
    return isinstance(out, Tensor) and any(torch.equal(out, after(probe)) for after in ENDS)
