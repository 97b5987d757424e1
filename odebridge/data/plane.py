"""Labelled points of the plane: what a flow of the plane can tell apart, and what it cannot."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from odebridge.data.base import Points

TRAIN, TEST = 1024, 512
INNER, RING = 0.5, (1.0, 1.5)  # the disc, and the inner and outer radius of the annulus
Drawn = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]


def annuli(seed: int = 0, train: int = TRAIN, test: int = TEST) -> Points:
    """A disc of radius 0.5 (label 0) inside an annulus of radii 1 and 1.5 (label 1), uniform in area, half and half.

    Source: Dupont, Doucet & Teh, Augmented neural ODEs, NeurIPS 2019 (their g in two dimensions).
    Caveat: no flow of the plane separates them by a line, so a neural ODE without augmentation only ever comes near to it.
    ValueError for fewer than two points. Use: `data = annuli()`.
    """

    def drawn(n: int, chance: torch.Generator) -> tuple[Tensor, Tensor]:
        y = (torch.arange(n) % 2)[torch.randperm(n, generator=chance)]
        low = torch.where(y == 0, 0.0, RING[0] ** 2)
        high = torch.where(y == 0, INNER**2, RING[1] ** 2)
        radius = (low + (high - low) * torch.rand(n, generator=chance)).sqrt()
        angle = 2 * math.pi * torch.rand(n, generator=chance)
        return torch.stack([radius * angle.cos(), radius * angle.sin()], -1), y

    return _split("annuli", seed, train, test, drawn)


def moons(seed: int = 0, train: int = TRAIN, test: int = TEST, noise: float = 0.1) -> Points:
    """Two half circles that reach into each other, labels 0 and 1, with Gaussian noise, centred on the origin.

    Upper: (cos a, sin a), lower: (1 - cos a, 1/2 - sin a), a uniform in (0, pi), both moved by (-1/2, -1/4).
    Source: the set of that name in scikit-learn, up to the shift. Use: `data = moons(noise=0.05)`.
    """

    def drawn(n: int, chance: torch.Generator) -> tuple[Tensor, Tensor]:
        y = (torch.arange(n) % 2)[torch.randperm(n, generator=chance)]
        angle = math.pi * torch.rand(n, generator=chance)
        upper = torch.stack([angle.cos(), angle.sin()], -1)
        lower = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], -1)
        x = torch.where(y[:, None] == 0, upper, lower) - torch.tensor([0.5, 0.25])
        return x + noise * torch.randn(n, 2, generator=chance), y

    return _split("moons", seed, train, test, drawn)


def _split(name: str, seed: int, train: int, test: int, drawn: Drawn) -> Points:
    if min(train, test) < 2:
        raise ValueError(f"{name}: train and test must be at least 2, got {train!r} and {test!r}.")
    chance = torch.Generator().manual_seed(seed)
    (x, y), (test_x, test_y) = drawn(train, chance), drawn(test, chance)
    return Points(x, y, test_x, test_y, classes=2, name=name)
