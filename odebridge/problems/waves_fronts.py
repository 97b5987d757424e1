"""One unknown on a line, by the method of lines: heat, Allen-Cahn, Burgers, Kuramoto-Sivashinsky."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from odebridge.problems.base import Problem
from odebridge.problems.build import computed, vector
from odebridge.problems.grids import framed, inside, ring_pattern, second_difference
from odebridge.problems.spread import Spread


def _inner_points(cells: int, left: float, right: float) -> Float[Tensor, " n"]:
    return left + (right - left) * torch.arange(1, cells + 1, dtype=torch.float64) / (cells + 1)


@dataclass(frozen=True)
class Heat:
    """Values at the inner points of [0, 1]; args (b, 1) = the conductivity."""

    cells: int

    def __call__(self, t: Float[Tensor, " b"], x: Float[Tensor, "b n"], args: Float[Tensor, "b 1"]) -> Float[Tensor, "b n"]:
        """Slopes of a batch."""
        return args * (self.cells + 1) ** 2 * second_difference(framed(x, 0.0, 0.0))


def heat(cells: int = 40) -> Problem:
    """Heat in a rod between two ends at zero, u_t = kappa u_xx; args = (kappa) = (1).

    u_i' = kappa (u_(i-1) - 2 u_i + u_(i+1)) / dx^2, dx = 1/(cells + 1), from sin(pi x) + sin(3 pi x)/2 + sin(cells pi x)/10 on
    [0, 0.2], solved by the same three sines times exp(-lambda_k t), lambda_k = 4 kappa sin(k pi dx / 2)^2 / dx^2: the
    reference is exact for the differences, with no error of space.
    Hairer & Wanner II, section IV.1. Caveat: linear, and by the end only the first sine is left.
    """
    inside("heat", "cells", cells, 4)
    points = _inner_points(cells, 0.0, 1.0)
    x0, end = torch.zeros_like(points), torch.zeros_like(points)
    for k, size in ((1, 1.0), (3, 0.5), (cells, 0.1)):
        rate = 4 * (cells + 1) ** 2 * math.sin(k * math.pi / (2 * (cells + 1))) ** 2
        wave = size * torch.sin(k * math.pi * points)
        x0, end = x0 + wave, end + math.exp(-0.2 * rate) * wave
    return Problem(
        Heat(cells),
        x0,
        (0.0, 0.2),
        vector((1.0,)),
        name="heat",
        reference=end,
        source="exact: sines are eigenvectors of the second difference",
        digits=14.0,
        stiff=True,
        spread=Spread(x0_log=0.1, args_log=0.3),
        sparsity=(1, 1),
    )


@dataclass(frozen=True)
class AllenCahn:
    """Values at the inner points of [-1, 1]; args (b, 1) = epsilon."""

    cells: int

    def __call__(self, t: Float[Tensor, " b"], x: Float[Tensor, "b n"], args: Float[Tensor, "b 1"]) -> Float[Tensor, "b n"]:
        """Slopes of a batch."""
        scale = ((self.cells + 1) / 2) ** 2
        return args * scale * second_difference(framed(x, -1.0, 1.0)) + (x - x * x * x)


def allen_cahn(cells: int = 63) -> Problem:
    """Phases that separate, u_t = epsilon u_xx + u - u^3 on [-1, 1] with u(-1) = -1 and u(1) = 1; args = (epsilon) = (0.01).

    u_i' = epsilon (u_(i-1) - 2 u_i + u_(i+1)) / dx^2 + u_i - u_i^3, dx = 2/(cells + 1), from
    0.53 x + 0.47 sin(-1.5 pi x) on [0, 70]. Allen & Cahn, Acta Metall. 27 (1979) 1085; data of Kassam & Trefethen,
    SIAM J. Sci. Comput. 26 (2005) 1214. Reference for 63 cells.
    Caveat: an inner layer sleeps for some 40 units of time and then goes at once; the moment depends on the mesh.
    """
    inside("allen_cahn", "cells", cells, 3)
    x = _inner_points(cells, -1.0, 1.0)
    known = computed("allen_cahn", cells == 63)
    return Problem(
        AllenCahn(cells),
        0.53 * x + 0.47 * torch.sin(-1.5 * math.pi * x),
        (0.0, 70.0),
        vector((0.01,)),
        name="allen_cahn",
        stiff=True,
        spread=Spread(x0_log=0.05, args_log=0.1),
        sparsity=(1, 1),
        **known,
    )


@dataclass(frozen=True)
class Burgers:
    """Values at the inner points of [0, 1]; args (b, 1) = the viscosity."""

    cells: int

    def __call__(self, t: Float[Tensor, " b"], x: Float[Tensor, "b n"], args: Float[Tensor, "b 1"]) -> Float[Tensor, "b n"]:
        """Slopes of a batch."""
        m, u = self.cells + 1, framed(x, 0.0, 0.0)
        square = u * u
        return args * m**2 * second_difference(u) - (square[:, 2:] - square[:, :-2]) * (m / 4)


def burgers(cells: int = 80) -> Problem:
    """A pulse that steepens, u_t + (u^2/2)_x = nu u_xx on [0, 1], zero at both ends; args = (nu) = (0.01).

    u_i' = nu (u_(i-1) - 2 u_i + u_(i+1)) / dx^2 - (u_(i+1)^2 - u_(i-1)^2) / (4 dx), dx = 1/(cells + 1), from
    exp(-(x - 0.5)^2 / (2 0.05^2)) on [0, 1]. Burgers, Adv. Appl. Mech. 1 (1948) 171; the pulse of SciMLBenchmarks. Reference
    for 80 cells. Caveat: central differences oscillate where |u| dx > 2 nu, so a smaller nu needs more cells.
    """
    inside("burgers", "cells", cells, 3)
    z = (_inner_points(cells, 0.0, 1.0) - 0.5) / 0.05
    known = computed("burgers", cells == 80)
    return Problem(
        Burgers(cells),
        torch.exp(-z * z / 2),
        (0.0, 1.0),
        vector((0.01,)),
        name="burgers",
        stiff=True,
        spread=Spread(x0_log=0.05, args_log=0.2),
        sparsity=(1, 1),
        **known,
    )


@dataclass(frozen=True)
class KuramotoSivashinsky:
    """Values on a circle; args (b, 1) = its length."""

    cells: int

    def __call__(self, t: Float[Tensor, " b"], x: Float[Tensor, "b n"], args: Float[Tensor, "b 1"]) -> Float[Tensor, "b n"]:
        """Slopes of a batch."""
        dx = args / self.cells
        square = dx * dx
        back, ahead = x.roll(1, 1), x.roll(-1, 1)
        bend = back - 2 * x + ahead
        fourth = bend.roll(1, 1) - 2 * bend + bend.roll(-1, 1)
        return (back * back - ahead * ahead) / (4 * dx) - bend / square - fourth / (square * square)


def kuramoto_sivashinsky(cells: int = 64) -> Problem:
    """A flame front, u_t = -u u_x - u_xx - u_xxxx on a circle; args = (length) = (16).

    u_i' = -(u_(i+1)^2 - u_(i-1)^2) / (4 dx) - d2 u_i / dx^2 - d4 u_i / dx^4 with the central second and fourth differences,
    dx = length/cells, from cos(2 pi x / length) on [0, 10]. Kuramoto & Tsuzuki, Prog. Theor. Phys. 55 (1976) 356;
    Sivashinsky, Acta Astronaut. 4 (1977) 1177; setting of SciMLBenchmarks. Reference for 64 cells.
    Caveat: chaotic on longer circles and times; stiffness grows as cells^4. The mean of u is conserved.
    """
    inside("kuramoto_sivashinsky", "cells", cells, 5)
    phase = 2 * math.pi * torch.arange(cells, dtype=torch.float64) / cells
    known = computed("kuramoto_sivashinsky", cells == 64)
    return Problem(
        KuramotoSivashinsky(cells),
        phase.cos(),
        (0.0, 10.0),
        vector((16.0,)),
        name="kuramoto_sivashinsky",
        stiff=True,
        spread=Spread(x0_log=0.05, args_log=0.05),
        sparsity=ring_pattern(cells, 2),
        **known,
    )
