"""Sparse Jacobians by colours: columns that share no row are differentiated together; patterns found by probing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.func import jvp

from odebridge.core.protocols import System
from odebridge.linalg.jacobian import time_derivative
from odebridge.linalg.structure import Dense


class Pattern(NamedTuple):
    """Where an (n, n) matrix may differ from zero: entry k sits at (rows[k], columns[k]). Kept on the CPU."""

    n: int
    rows: Int[Tensor, " k"]
    columns: Int[Tensor, " k"]


@dataclass(frozen=True, eq=False)
class Colouring:
    """A pattern and the colour of each of its columns; two columns of one colour have no row in common."""

    pattern: Pattern
    colour: Int[Tensor, " n"]
    colours: int


def pattern_of(given: Any, n: int | None = None) -> Pattern:
    """The pattern {(i, j)} of what a user may give: (lower, upper), bool (n, n), a SciPy sparse matrix, or a `Pattern`.

    Bandwidths (lower, upper) mean -upper <= i - j <= lower and need n. Stored zeros of a sparse matrix are left out.
    ValueError for a shape that is not (n, n), TypeError for anything else. Caveat: numbers are read as "is not zero".
    Use: `pattern_of((1, 1), n=100)`.
    """
    if isinstance(given, Pattern):
        out = given
    elif _is_bandwidths(given):
        if n is None:
            raise ValueError("sparsity: bandwidths (lower, upper) say nothing of n; give n too.")
        lower, upper = given
        row = torch.arange(n)[:, None]
        column = row + torch.arange(-min(lower, n - 1), min(upper, n - 1) + 1)
        inside = (column >= 0) & (column < n)
        out = Pattern(n, row.expand_as(column)[inside], column[inside])
    elif hasattr(given, "tocoo"):
        coo = given.tocoo()
        _check_square(coo.shape)
        there = torch.from_numpy(coo.data != 0)
        rows, columns = (torch.from_numpy(i.astype("int64"))[there] for i in (coo.row, coo.col))
        out = Pattern(coo.shape[0], rows, columns)
    else:
        try:
            full = torch.as_tensor(given).cpu() != 0
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"sparsity: write (lower, upper), a bool (n, n) tensor or a SciPy sparse matrix, got {type(given).__name__}."
            ) from error
        _check_square(full.shape)
        rows, columns = full.nonzero(as_tuple=True)
        out = Pattern(len(full), rows, columns)
    if n is not None and out.n != n:
        raise ValueError(f"sparsity: the pattern is of shape ({out.n}, {out.n}), the state has {n} components.")
    return out


def _is_bandwidths(given: Any) -> bool:
    return isinstance(given, (tuple, list)) and len(given) == 2 and all(type(k) is int and k >= 0 for k in given)


def _check_square(shape: Any) -> None:
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(f"sparsity: a pattern has the shape (n, n) of df/dx, got {tuple(shape)}.")


def colour(pattern: Pattern) -> Colouring:
    """Colours c_j, few, with c_i != c_j whenever columns i and j have a row in common.

    Greedy: each column takes the lowest colour that no column of its rows has; once in the given order, which is optimal for
    a band, and once with the fullest columns first, and the better one is kept. The number of colours is at least that of
    the entries of the fullest row. Source: Curtis, Powell & Reid, J. Inst. Math. Appl. 13, 1974; Coleman & More, SIAM J.
    Numer. Anal. 20, 1983. Caveat: one full row costs n colours. Use: `colour(pattern_of((1, 1), 100)).colours` is 3.
    """
    n = pattern.n
    by_column: list[list[int]] = [[] for _ in range(n)]
    for i, j in zip(pattern.rows.tolist(), pattern.columns.tolist(), strict=True):
        by_column[j].append(i)
    orders = [list(range(n)), sorted(range(n), key=lambda j: -len(by_column[j]))]
    best = min((_greedy(by_column, order) for order in orders), key=lambda colours: max(colours, default=0))
    return Colouring(pattern, torch.tensor(best, dtype=torch.int64), max(best, default=0) + 1)


def _greedy(by_column: list[list[int]], order: list[int]) -> list[int]:
    taken = [0] * len(by_column)  # the colours of each row, one bit each
    colours = [0] * len(by_column)
    for j in order:
        used = 0
        for i in by_column[j]:
            used |= taken[i]
        free = ~used & (used + 1)  # the lowest bit that is not set
        colours[j] = free.bit_length() - 1
        for i in by_column[j]:
            taken[i] |= free
    return colours


def products(
    f: System, t: Float[Tensor, " b"], x: Float[Tensor, "b *s"], seeds: Float[Tensor, " k n"]
) -> tuple[Float[Tensor, " k b n"], Float[Tensor, "b *s"]]:
    """J s_k for every seed s_k (k, n), and df/dt, by one call of the field on k + 1 copies of the batch.

    Forward mode, memory and work of k + 1 fields. Differentiable once more.
    """
    b, k = len(x), len(seeds)
    tangent = torch.zeros(k + 1, b, seeds.shape[1], dtype=x.dtype, device=x.device)
    tangent[:k] = seeds[:, None, :]
    tangent_t = torch.zeros(k + 1, b, dtype=t.dtype, device=t.device)
    tangent_t[k] = 1.0
    copies = (k + 1,) + (1,) * (x.dim() - 1)
    out = jvp(
        f.repeated(k + 1), (t.repeat(k + 1), x.repeat(*copies)), (tangent_t.reshape(-1), tangent.reshape(-1, *x.shape[1:]))
    )[1].reshape(k + 1, b, -1)
    return out[:k], out[k].reshape(x.shape)


def entries(
    f: System, t: Float[Tensor, " b"], x: Float[Tensor, "b *s"], colouring: Colouring
) -> tuple[Float[Tensor, " b k"], Float[Tensor, "b *s"]]:
    """The entries of df/dx at the places of the pattern (b, k), in its order, and df/dt (b, *s).

    The products J s_c with the seeds s_c = sum_(j of colour c) e_j hold each entry by itself: row i has but one column of
    that colour. A given `jacobian` is called instead and its entries are picked. ValueError if n does not fit.
    Caveat: an entry outside the pattern is added to one inside, unnoticed. Use: `entries(f, t, x, colour(pattern))`.
    """
    pattern = colouring.pattern
    n = x[0].numel()
    if pattern.n != n:
        raise ValueError(f"sparsity: the pattern is of shape ({pattern.n}, {pattern.n}), the state has {n} components.")
    rows, columns = pattern.rows.to(x.device), pattern.columns.to(x.device)
    if f.jacobian is not None:
        return f.jacobian(t, x)[:, rows, columns], time_derivative(f, t, x)
    colours = colouring.colour.to(x.device)
    seeds = torch.zeros(colouring.colours, n, dtype=x.dtype, device=x.device)
    seeds[colours, torch.arange(n, device=x.device)] = 1.0
    compressed, dfdt = products(f, t, x, seeds)
    return compressed[colours[columns], :, rows].T, dfdt


@dataclass(frozen=True, eq=False)
class Coloured(Dense):
    """Full matrices and their LU as in `Dense`, filled from as many forward-mode products as there are colours.

    For sparse patterns without a narrow band: memory b n^2 and work b n^3 stay, the n + 1 copies of the field become
    colours + 1. Shapes as in `Dense`. Caveat: entries outside the pattern must be zero.
    Use: `Coloured(colour(pattern_of(mask)))`.
    """

    colouring: Colouring

    def differentiate(self, f: System, t: Float[Tensor, " b"], x: Tensor) -> tuple[Tensor, Tensor]:
        """df/dx (b, n, n), zero outside the pattern, and df/dt."""
        values, dfdt = entries(f, t, x, self.colouring)
        n, pattern = self.colouring.pattern.n, self.colouring.pattern
        places = (pattern.rows * n + pattern.columns).to(x.device)
        flat = torch.zeros(len(x), n * n, dtype=x.dtype, device=x.device)
        return flat.index_copy(1, places, values).reshape(len(x), n, n), dfdt


@torch.no_grad()
def detect(f: System, t: Float[Tensor, " b"], x: Float[Tensor, "b *s"], points: int = 3, chunk: int = 256) -> Pattern:
    """Where df/dx differs from zero at a few points near x: the union over them, for all trajectories of the batch.

    Point k is trajectory k (b - 1) // (points - 1), its components moved by up to a tenth of themselves (zeros: up to a
    thousandth of the state's size, upwards), its clock by up to a thousandth, all by a fixed generator. Columns come by forward
    mode, `chunk` at a time, so that no more than chunk * n numbers are held. Entries that are not finite count as there, and so
    does the whole diagonal. Caveat: a derivative that is zero at all of these points, such as that of max(x - 1, 0) from below,
    is missed, and so is a coupling that begins at a later time: give the pattern itself where the field switches.
    Use: `detect(f, t0, x0)`.
    """
    b, n = len(x), x[0].numel()
    generator = torch.Generator().manual_seed(0)
    found = torch.arange(n) * (n + 1)  # the diagonal: shift M - J has it anyway
    for k in range(points):
        lane = torch.tensor([k * (b - 1) // max(points - 1, 1)], device=x.device)
        one, clock, state = f.take(lane), t[lane], x[lane].flatten(1)
        noise = torch.rand(n + 1, generator=generator, dtype=torch.float64).to(state)
        size = state.abs().amax(1, keepdim=True)
        size = torch.where(size > 0, size, torch.ones_like(size))
        near = torch.where(state == 0, 1e-3 * size * noise[:n], state * (1.0 + 0.1 * (2.0 * noise[:n] - 1.0)))
        clock = clock + (1e-3 * noise[n] * clock.abs().clamp_min(1.0)).to(clock.dtype)
        for start in range(0, n, chunk):
            columns = torch.arange(start, min(start + chunk, n), device=x.device)
            found = torch.cat([found, _nonzero(one, clock, near.reshape(1, *x.shape[1:]), columns, n)])
        found = found.unique()
    return Pattern(n, found // n, found % n)


def _nonzero(f: System, t: Tensor, x: Tensor, columns: Int[Tensor, " c"], n: int) -> Int[Tensor, " k"]:
    """The places i n + j of the entries of these columns that are not zero."""
    c = len(columns)
    tangent = torch.zeros(c, n, dtype=x.dtype, device=x.device)
    tangent[torch.arange(c, device=x.device), columns] = 1.0
    copies = (c,) + (1,) * (x.dim() - 1)
    moved = jvp(lambda y: f.repeated(c)(t.repeat(c), y), (x.repeat(*copies),), (tangent.reshape(-1, *x.shape[1:]),))[1]
    there: Bool[Tensor, " c n"] = moved.reshape(c, n) != 0  # nan is unequal to 0 too
    which, rows = there.nonzero(as_tuple=True)
    return (rows * n + columns[which]).cpu()


@lru_cache(maxsize=64)
def band_seeds(n: int, width: int) -> Float[Tensor, " k n"]:
    """Seeds of a band of `width` diagonals: columns j, j + width, j + 2 width ... have no row in common."""
    k = min(width, n)
    return (torch.arange(n) % width == torch.arange(k)[:, None]).double()
