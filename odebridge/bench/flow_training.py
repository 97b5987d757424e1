"""All seeds of one network trained at once: their weights are stacked, and every seed has its own batches and its own Adam."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from odebridge.bench.flow_data import TIMES, Pairs
from odebridge.bench.flow_networks import KINDS, Operator, built

ALONE = 20  # iterations of one network by which the cost of training it is estimated
CLIP = 1.0


@dataclass(frozen=True)
class Recipe:
    """Adam on the mean squared error at the end, in standard deviations; the learning rate warms up and falls as a cosine."""

    iterations: int
    batch: int
    lr: float = 5e-3
    warm: float = 0.05

    def rate(self, i: int) -> float:
        """The learning rate of iteration i."""
        up = max(1.0, self.warm * self.iterations)
        return self.lr * min((i + 1) / up, 0.5 * (1.0 + math.cos(math.pi * i / self.iterations)))


@dataclass(frozen=True)
class Trained:
    """One network for every seed. seconds: of one training alone, estimated; stacked: of all of them together."""

    nets: list[nn.Module]
    losses: list[float]
    seconds: float
    stacked: float
    done: int


Inputs = tuple[Tensor, ...]  # features, scaled start, and args where the field is known


def inputs(found: Pairs, features: Tensor, task: Any, known: bool) -> Inputs:
    """What a network is given: in single precision, features and starts of order one."""
    low, spread = found.features.mean(0), found.features.std(0)
    z, y = (features - low) / spread, (task.x0 - found.centre) / found.scale
    more = (task.args.float(),) if known and task.args is not None else ()
    return (z.float(), y.float(), *more)


def end_state(net: nn.Module, found: Pairs, given: Inputs) -> Tensor:
    """X(T) (b, n) in the units of the system, float64."""
    return net(*given).double() * found.scale + found.centre


def train(kind: str, steps: int, found: Pairs, seeds: list[int], recipe: Recipe, left: float) -> Trained:
    """Trained end to end from end states; left: seconds, after which fewer iterations have been done than planned.

    Updates that are not finite are left out, and gradients are clipped, for every seed by itself.
    """
    nets = [built(kind, found, steps, seed) for seed in seeds]
    given = inputs(found, found.features, found.task, KINDS[kind].known)
    targets = ((found.way - found.centre) / found.scale).float()
    weight = (found.scale / found.error_scale).float()
    one = _alone(kind, steps, found, seeds[0], given, targets, weight, recipe)
    weights, buffers = stack_module_state(nets)  # type: ignore[arg-type]
    base, times = nets[0], _times(targets)
    loss_of = _loss(base, weight, times)

    def all_losses(some: dict[str, Tensor], rest: Inputs, end: Tensor) -> Tensor:
        return vmap(lambda p, b, y, *g: loss_of(p, b, g, y))(some, buffers, end, *rest)

    values = list(weights.values())
    adam = torch.optim.Adam(values, lr=recipe.lr)
    draws = [torch.Generator().manual_seed(1000 + seed) for seed in seeds]
    began, last, i = time.perf_counter(), torch.full((len(seeds),), math.nan), 0
    for i in range(1, recipe.iterations + 1):
        index = torch.stack([torch.randint(len(targets), (recipe.batch,), generator=g) for g in draws]).to(targets.device)
        adam.zero_grad()
        last = all_losses(weights, tuple(v[index] for v in given), targets[index])
        last.sum().backward()
        clip_each(values)
        adam.param_groups[0]["lr"] = recipe.rate(i - 1)
        adam.step()
        if i % 20 == 0 and time.perf_counter() - began > left:
            break
    stacked = time.perf_counter() - began
    with torch.no_grad():
        for k, net in enumerate(nets):
            for name, p in net.named_parameters():
                p.copy_(weights[name][k])
    return Trained(nets, last.tolist(), one * i, stacked, i)


def _loss(base: nn.Module, weight: Tensor, times: Tensor) -> Callable[..., Tensor]:
    """Of one seed, as a function of its weights: the end alone, or all times for a network that is a function of time."""

    def loss(p: dict[str, Tensor], b: dict[str, Tensor], given: Inputs, way: Tensor) -> Tensor:
        if isinstance(base, Operator):
            got = functional_call(_Way(base), ({f"net.{k}": v for k, v in p.items()}, {}), (given[0], times))
            return ((got - way) * weight).square().mean()
        return ((functional_call(base, (p, b), given) - way[:, -1]) * weight).square().mean()

    return loss


class _Way(nn.Module):
    """The states on the way instead of the end."""

    def __init__(self, net: Operator) -> None:
        super().__init__()
        self.net = net

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        """(b, d), (k,) -> (b, k, n)."""
        return self.net.way(z, t)


def _times(like: Tensor) -> Tensor:
    return torch.arange(1, TIMES + 1, dtype=torch.float32, device=like.device) / TIMES


def clip_each(stacked: list[Tensor]) -> None:
    """Norm of each seed's gradient at most CLIP; 0 where it is not finite."""
    grads = [p.grad for p in stacked if p.grad is not None]
    norms = torch.stack([g.flatten(1).square().sum(1) for g in grads]).sum(0).sqrt()
    factor = torch.where(torch.isfinite(norms), (CLIP / norms.clamp_min(CLIP)), 0.0)
    for g in grads:
        g.copy_(torch.nan_to_num(g, 0.0, 0.0, 0.0) * factor.reshape(-1, *(1,) * (g.dim() - 1)))


def _alone(
    kind: str, steps: int, found: Pairs, seed: int, given: Inputs, targets: Tensor, weight: Tensor, recipe: Recipe
) -> float:
    """Seconds of one iteration of one network, the median of some."""
    net, times = built(kind, found, steps, seed), _times(targets)
    adam, spent = torch.optim.Adam(net.parameters(), lr=recipe.lr), []
    loss_of = _loss(net, weight, times)
    for _ in range(ALONE + 3):
        began = time.perf_counter()
        index = torch.randint(len(targets), (recipe.batch,), generator=torch.Generator().manual_seed(0)).to(targets.device)
        adam.zero_grad()
        p, b = dict(net.named_parameters()), dict(net.named_buffers())
        loss_of(p, b, tuple(v[index] for v in given), targets[index]).backward()
        adam.step()
        spent.append(time.perf_counter() - began)
    return sorted(spent[3:])[ALONE // 2]
