"""The spectral radius of df/dx without a Jacobian, as methods for diffusion need it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from odebridge.core.protocols import System
from odebridge.core.shapes import per_sample, take
from odebridge.core.tolerance import rms

AGE = 25  # accepted steps after which the spectral radius is estimated anew


class Spectrum(NamedTuple):
    """What is known of the spectral radius of df/dx, per trajectory."""

    radius: Float[Tensor, " b"]  # safety included
    vector: Float[Tensor, "b *s"]  # direction in which f changes fastest; 0 if unknown
    age: Int[Tensor, " b"]  # steps kept since the estimate; AGE: estimate at the next try
    here: Bool[Tensor, " b"]  # estimated at the point where the next try starts


@torch.no_grad()
def power_iteration(
    field: System, t: Float[Tensor, " b"], x: Float[Tensor, "b *s"], slope: Float[Tensor, "b *s"], vector: Tensor
) -> tuple[Float[Tensor, " b"], Float[Tensor, "b *s"], Int[Tensor, " b"]]:
    """1.2 times the spectral radius of df/dx by v <- f(x + v) - f(x), scaled back to |v| = sqrt(eps) |x|; no Jacobian.

    Returns the radius (b,) float64, the last direction (b, *s) and the evaluations (b,). Stops per trajectory when two
    estimates differ by 1 %; after 50 (a complex pair makes them swing) the largest counts. Starts from `vector` with a rough
    pattern added: from a smooth slope alone it would settle on a smooth mode. Source: the code of Sommeijer, Shampine & Verwer,
    J. Comput. Appl. Math. 88, 1998.
    """
    index = torch.arange(len(x), device=x.device)
    scale = rms(x) if field.tol is None else rms(x) + rms(field.tol.atol)
    size = math.sqrt(torch.finfo(x.dtype).eps) * torch.where(scale > 0.0, scale, 1.0)
    length = rms(vector)
    known = per_sample(torch.where(length > 0.0, 1.0 / length, 0.0), x) * vector
    number = torch.arange(1, x[0].numel() + 1, dtype=torch.float64, device=x.device)
    # A chirp: the spectrum of cos(a k^2) is flat, so that no mode is missed.
    rough = torch.cos(0.7071 * number * number).to(x.dtype).reshape(x.shape[1:]) + torch.zeros_like(x)
    move = known + 0.3 * rough
    move = per_sample(size / rms(move), x) * move
    radius, calls = torch.zeros(len(x), dtype=torch.float64, device=x.device), torch.zeros_like(index)
    before, largest = torch.full_like(radius, torch.inf), torch.zeros_like(radius)
    direction = vector
    k = 0
    while len(index):
        k += 1
        change = field(t, x + move) - slope
        length = rms(change)
        found = (length / size).double()
        settled = (found - before).abs() <= 0.01 * found  # so is 0; after one estimate `before` is infinite
        lost = ~torch.isfinite(found)
        largest = torch.maximum(largest, torch.nan_to_num(found))
        result = 1.2 * torch.where(settled | lost, found, largest)
        move = per_sample(torch.where(length > 0.0, size / length, 0.0), x) * change
        done = settled | lost | (found == 0.0) | torch.full_like(lost, k == 50)
        if bool(done.any()):
            where = done.nonzero()[:, 0]
            radius = radius.index_copy(0, index[where], torch.where(found == 0.0, 0.0, result)[where])
            calls = calls.index_fill(0, index[where], k)
            direction = direction.index_copy(0, index[where], torch.nan_to_num(move[where]))
            on = (~done).nonzero()[:, 0]
            index, t, x, slope, move, size, found, largest = take((index, t, x, slope, move, size, found, largest), on)
            field = field.take(on)
        before = found
    return radius, direction, calls
