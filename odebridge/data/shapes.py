"""Coloured shapes, drawn here: a set in colour that needs no files."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from odebridge.data.base import Images, standardised

SIDE = 32


def shapes(*, train: int = 2000, test: int = 500, seed: int = 0) -> Images:
    """Discs, squares, triangles, rings and crosses, each warm or cold, (3, 32, 32), on a ground of another colour: ten classes.

    The class is 2 shape + (1 if cold): neither grey values nor colours alone tell it. Place, size, hue, brightness and ground
    are drawn by the seed. Source: ours, for tests and for trying colour networks without a download. Caveat: easy; a network
    of eight layers gets nearly all of it. Use: `data = shapes(train=500)`.
    """
    chance = torch.Generator().manual_seed(seed)
    n = train + test
    y = torch.randint(10, (n,), generator=chance)
    x = _ground(n, chance)
    inside = _masks(y // 2, chance)
    bright = 0.55 + 0.45 * torch.rand(n, 1, generator=chance)
    share = torch.rand(n, 1, generator=chance) * 0.5
    warm = torch.cat([bright, share * bright, 0.15 * bright], 1)  # red to orange
    cold = torch.cat([0.15 * bright, share * bright, bright], 1)  # blue to azure
    colour = torch.where((y % 2 == 1)[:, None], cold, warm)
    x = torch.where(inside[:, None], colour[:, :, None, None], x) + 0.05 * torch.randn(n, 3, SIDE, SIDE, generator=chance)
    train_x, test_x = standardised(x[:train], x[train:], by_channel=True)
    return Images(train_x, y[:train], test_x, y[train:], 10, "shapes", mirror=True)


def _ground(n: int, chance: torch.Generator) -> Float[Tensor, "n 3 h w"]:
    """A grey of some brightness, with a touch of colour."""
    grey = 0.2 + 0.4 * torch.rand(n, 1, 1, 1, generator=chance)
    return (grey + 0.1 * torch.rand(n, 3, 1, 1, generator=chance)).expand(n, 3, SIDE, SIDE)


def _masks(kind: Tensor, chance: torch.Generator) -> Bool[Tensor, "n h w"]:
    """Where each shape is."""
    n = len(kind)
    size = 5.0 + 5.0 * torch.rand(n, 1, 1, generator=chance)
    centre = SIDE / 2 + (SIDE / 2 - 10.0) * (2.0 * torch.rand(n, 2, 1, 1, generator=chance) - 1.0)
    place = torch.arange(SIDE, dtype=torch.float32) + 0.5
    across, down = (place[None, None, :] - centre[:, 0]) / size, (place[None, :, None] - centre[:, 1]) / size
    radius = (across.square() + down.square()).sqrt()
    square = torch.maximum(across.abs(), down.abs()) < 0.9
    drawn = torch.stack([
        radius < 1.0,
        square,
        (down < 0.8) & (across.abs() < (down + 1.0) / 1.8),
        (radius < 1.0) & (radius > 0.55),
        square & (torch.minimum(across.abs(), down.abs()) < 0.3),
    ])  # fmt: skip
    return drawn[kind, torch.arange(n)]
