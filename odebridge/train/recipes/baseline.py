"""The residual network that the variants are measured beside."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from odebridge.data import Points, Series
from odebridge.nets import FlowMap, flow_map
from odebridge.train.recipes.base import Recipe
from odebridge.train.recipes.tasks import classification, following, scales
from odebridge.train.task import Task


class Marching(nn.Module):
    """x_(k+1) = centre + scale net((x_k - centre) / scale): a flow map from each time to the next."""

    scale: Tensor
    centre: Tensor

    def __init__(self, net: FlowMap, scale: Tensor, centre: Tensor) -> None:
        super().__init__()
        self.net = net.to(scale.dtype)
        self.register_buffer("scale", scale)
        self.register_buffer("centre", centre)

    def path(self, x: Tensor, times: Tensor) -> Tensor:
        """The states at `times`, which must be those of the series or their beginning: only the number of them matters."""
        states = [(x - self.centre) / self.scale]
        for _ in times[1:]:
            states.append(self.net(states[-1]))
        return torch.stack(states, 1) * self.scale + self.centre


def hidden_for(parameters: int, dim: int, blocks: int) -> int:
    """Hidden units of each block, so that dim-hidden-dim blocks have about so many parameters together, at least one."""
    return max(1, round((parameters / blocks - dim) / (2 * dim + 1)))


def build(data: Points | Series, _seed: int, blocks: int, parameters: int, window: int) -> Task:
    """Blocks of two layers, in the plane for points, from time to time for series."""
    if isinstance(data, Points):
        body = flow_map(2, blocks, hidden_for(parameters - 3 * data.classes, 2, blocks))
        net = nn.Sequential(body, nn.Linear(2, data.classes))
        return classification(net, data, list(body.stage.field.blocks))
    scale, centre = scales(data)
    d = len(scale)
    body = flow_map(d, blocks, hidden_for(parameters, d, blocks))
    net = Marching(body, scale, centre)
    return following(net, net.path, data, list(body.stage.field.blocks), window)


RESNET = Recipe(
    "resnet", "the residual network beside them, x_(k+1) = x_k + f_k(x_k) / n", "annuli", build,
    ("moons", "pendulum", "lotka-volterra"),
    {"blocks": 6, "parameters": 1256, "window": 6},
)  # fmt: skip
