"""Reactions with diffusion, by the method of lines: Akzo Nobel's medical problem, the Brusselator, Gray-Scott."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from odebridge.problems.base import Problem
from odebridge.problems.build import computed, vector
from odebridge.problems.grids import framed, inside, second_difference, torus_laplacian, torus_pattern
from odebridge.problems.spread import Spread


def _interleaved(u: Float[Tensor, "b n"], v: Float[Tensor, "b n"]) -> Float[Tensor, "b m"]:
    return torch.stack([u, v], -1).flatten(1)


@dataclass(frozen=True)
class MedicalAkzoNobel:
    """Components u1, v1, u2, v2, ...; args (b, 2) = (k, c)."""

    cells: int

    def __call__(self, t: Float[Tensor, " b"], x: Float[Tensor, "b n"], args: Float[Tensor, "b 2"]) -> Float[Tensor, "b n"]:
        """Slopes of a batch."""
        n = self.cells
        u, v, k, c = x[:, 0::2], x[:, 1::2], args[:, :1], args[:, 1:]
        z = torch.arange(1, n + 1, dtype=x.dtype, device=x.device) / n - 1
        scale, square = c * c, z * z
        inflow = torch.where(t <= 5, 2.0, 0.0).to(x.dtype)[:, None]
        line = torch.cat([inflow, u, u[:, -1:]], 1)
        drift = 2 * (square * z) / scale * (line[:, 2:] - line[:, :-2]) * (n / 2)
        spread = square * square / scale * second_difference(line) * (n * n)
        bound = k * u * v
        return _interleaved(drift + spread - bound, -bound)


def medical_akzo_nobel(cells: int = 200) -> Problem:
    """An antibody u penetrates tissue and binds to v, u_t = u_yy - k u v, v_t = -k u v on y > 0, drawn onto z = y/(y + c) < 1.

    u_j' = 2 (z_j - 1)^3 / c^2 (u_(j+1) - u_(j-1)) / (2 dz) + (z_j - 1)^4 / c^2 (u_(j-1) - 2 u_j + u_(j+1)) / dz^2 - k u_j v_j,
    v_j' = -k u_j v_j,   z_j = j dz, dz = 1/cells, u_0 = 2 until t = 5 and 0 after, u_(N+1) = u_N; from u = 0, v = 1 on [0, 20];
    args = (k, c) = (100, 4). The components are u1, v1, u2, v2, ..., so the band is (2, 2).
    Akzo Nobel and CWI; IVP test set 2.4, MEDAKZO. The reference belongs to 200 cells, n = 400.
    Caveat: u_0 jumps at t = 5. Where the front has passed, v is 1e-100 and smaller: a relative error says nothing there.
    """
    inside("medical_akzo_nobel", "cells", cells, 3)
    x0 = torch.zeros(2 * cells, dtype=torch.float64)
    x0[1::2] = 1.0
    known = computed("medical_akzo_nobel", cells == 200)
    return Problem(
        MedicalAkzoNobel(cells),
        x0,
        (0.0, 20.0),
        vector((100.0, 4.0)),
        name="medical_akzo_nobel",
        stiff=True,
        spread=Spread(x0_log=0.05, args_log=0.1),
        sparsity=(2, 2),
        discontinuities=(5.0,),
        **known,
    )


@dataclass(frozen=True)
class Brusselator1d:
    """Components u1, v1, u2, v2, ...; args (b, 3) = (A, B, alpha)."""

    cells: int

    def __call__(self, t: Float[Tensor, " b"], x: Float[Tensor, "b n"], args: Float[Tensor, "b 3"]) -> Float[Tensor, "b n"]:
        """Slopes of a batch."""
        a, b, alpha = args[:, :1], args[:, 1:2], args[:, 2:] * (self.cells + 1) ** 2
        u, v = x[:, 0::2], x[:, 1::2]
        made = u * u * v
        du = a + made - (b + 1) * u + alpha * second_difference(framed(u, 1.0, 1.0))
        dv = b * u - made + alpha * second_difference(framed(v, 3.0, 3.0))
        return _interleaved(du, dv)


def brusselator_1d(cells: int = 40) -> Problem:
    """Brusselator with diffusion in a tube, u = 1 and v = 3 at both ends; n = 2 cells.

    u_i' = A + u_i^2 v_i - (B + 1) u_i + alpha (u_(i-1) - 2 u_i + u_(i+1)) / dx^2,
    v_i' = B u_i - u_i^2 v_i + alpha (v_(i-1) - 2 v_i + v_(i+1)) / dx^2,   dx = 1/(cells + 1), from u = 1 + sin(2 pi x), v = 3
    on [0, 10]; args = (A, B, alpha) = (1, 3, 0.02). The components are u1, v1, u2, v2, ..., so the band is (2, 2).
    Lefever & Nicolis, J. theor. Biol. 30 (1971) 267; Hairer & Wanner II, section IV.1. Reference for 40 cells.
    Caveat: stiffness grows as cells^2, at 40 cells it is mild.
    """
    inside("brusselator_1d", "cells", cells, 2)
    x = torch.arange(1, cells + 1, dtype=torch.float64) / (cells + 1)
    start = torch.stack([1 + torch.sin(2 * math.pi * x), torch.full_like(x, 3.0)], 1).flatten()
    known = computed("brusselator_1d", cells == 40)
    return Problem(
        Brusselator1d(cells),
        start,
        (0.0, 10.0),
        vector((1.0, 3.0, 0.02)),
        name="brusselator_1d",
        stiff=True,
        spread=Spread(x0_log=0.05, args_log=0.1),
        sparsity=(2, 2),
        **known,
    )


@dataclass(frozen=True)
class Brusselator2d:
    """Components u (cells, cells), then v; args (b, 3) = (A, B, alpha)."""

    cells: int

    def __call__(self, t: Float[Tensor, " b"], x: Float[Tensor, "b n"], args: Float[Tensor, "b 3"]) -> Float[Tensor, "b n"]:
        """Slopes of a batch."""
        n = self.cells
        a, b, alpha = (args[:, k, None, None] for k in range(3))
        u, v = x.unflatten(1, (2, n, n)).unbind(1)
        place = torch.arange(n, dtype=x.dtype, device=x.device) / n
        across, along = place[:, None] - 0.3, place - 0.6
        disc = (across * across + along * along <= 0.01) & (t > 1.1)[:, None, None]
        made, alpha = u * u * v, alpha * n**2
        du = b + made - (a + 1) * u + alpha * torus_laplacian(u) + torch.where(disc, 5.0, 0.0).to(x.dtype)
        dv = a * u - made + alpha * torus_laplacian(v)
        return torch.cat([du.flatten(1), dv.flatten(1)], 1)


def _bump(s: Tensor) -> Tensor:
    """(s (1 - s))^(3/2)."""
    w = s * (1 - s)
    return w * w.sqrt()


def brusselator_2d(cells: int = 8) -> Problem:
    """Brusselator on a periodic unit square with a source that is switched on at t = 1.1; n = 2 cells^2, u first.

    u' = B + u^2 v - (A + 1) u + alpha L u + f,   v' = A u - u^2 v + alpha L v,   L the five-point difference / dx^2,
    dx = 1/cells, f = 5 for t > 1.1 in the disc (x - 0.3)^2 + (y - 0.6)^2 <= 0.01, from u = 22 (y (1 - y))^(3/2) and
    v = 27 (x (1 - x))^(3/2) on [0, 11.5]; args = (A, B, alpha) = (3.4, 1, 0.1). Hairer & Wanner II, section IV.10 (problem
    BRUSS-2D), with the initial values that the code of SciMLBenchmarks has. The reference belongs to 8 cells a side.
    Caveat: f jumps at t = 1.1. The disc of a coarse grid holds few points, so solutions for different cells are not one limit.
    """
    inside("brusselator_2d", "cells", cells, 3)
    s = torch.arange(cells, dtype=torch.float64) / cells
    u0, v0 = (22 * _bump(s)).expand(cells, cells), (27 * _bump(s))[:, None].expand(cells, cells)
    known = computed("brusselator_2d", cells == 8)
    return Problem(
        Brusselator2d(cells),
        torch.cat([u0.flatten(), v0.flatten()]),
        (0.0, 11.5),
        vector((3.4, 1.0, 0.1)),
        name="brusselator_2d",
        stiff=True,
        spread=Spread(x0_log=0.05, args_log=0.05),
        sparsity=torus_pattern(cells),
        discontinuities=(1.1,),
        **known,
    )


@dataclass(frozen=True)
class GrayScott:
    """Components u (cells, cells), then v; args (b, 4) = (Du, Dv, F, k)."""

    cells: int
    spacing: float

    def __call__(self, t: Float[Tensor, " b"], x: Float[Tensor, "b n"], args: Float[Tensor, "b 4"]) -> Float[Tensor, "b n"]:
        """Slopes of a batch."""
        n = self.cells
        du, dv, feed, kill = (args[:, k, None, None] for k in range(4))
        u, v = x.unflatten(1, (2, n, n)).unbind(1)
        used, square = u * v * v, self.spacing * self.spacing
        u_slope = du / square * torus_laplacian(u) - used + feed * (1 - u)
        v_slope = dv / square * torus_laplacian(v) + used - (feed + kill) * v
        return torch.cat([u_slope.flatten(1), v_slope.flatten(1)], 1)


def gray_scott(cells: int = 8) -> Problem:
    """A feed u is eaten by v on a periodic square of mesh 2.5/256; n = 2 cells^2, u first.

    u' = Du L u - u v^2 + F (1 - u),   v' = Dv L v + u v^2 - (F + k) v,   L the five-point difference / mesh^2, from
    u = 1 - w/2, v = w/4 with w = sin(pi x/l)^2 sin(pi y/l)^2, l the side, on [0, 50];
    args = (Du, Dv, F, k) = (2e-5, 1e-5, 0.04, 0.06). Gray & Scott, Chem. Eng. Sci. 39 (1984) 1087; Pearson, Science 261
    (1993) 189. The reference belongs to 8 cells a side. Not stiff at this mesh.
    Caveat: `cells` widens the square and leaves the mesh; patterns need some 100 cells a side and t of thousands.
    """
    inside("gray_scott", "cells", cells, 3)
    s = torch.sin(math.pi * torch.arange(cells, dtype=torch.float64) / cells)
    w = (s * s)[:, None] * (s * s)
    known = computed("gray_scott", cells == 8)
    return Problem(
        GrayScott(cells, 2.5 / 256),
        torch.cat([(1 - w / 2).flatten(), (w / 4).flatten()]),
        (0.0, 50.0),
        vector((2e-5, 1e-5, 0.04, 0.06)),
        name="gray_scott",
        spread=Spread(x0_log=0.05, args_log=0.1),
        sparsity=torus_pattern(cells),
        **known,
    )
