"""Banded df/dx: coloured forward mode, and LU of a M - df/dx by merging neighbouring blocks of rows, never a matrix (n, n)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.weak import WeakTensorKeyDictionary

from odebridge.core.protocols import System
from odebridge.linalg import lu
from odebridge.linalg.colouring import Coloured, Pattern, band_seeds, colour, pattern_of, products
from odebridge.linalg.elimination import BLOCK, BandFactors, factor_band, full, solve_band
from odebridge.linalg.jacobian import time_derivative
from odebridge.linalg.structure import Dense, Structure

_CHECKED = WeakTensorKeyDictionary()  # full mass matrices and the bands they were found to fit


@dataclass(frozen=True)
class Banded:
    """df_i/dx_j = 0 unless -upper <= i - j <= lower, i and j places in `order` (None: the components as they are).

    J is held as (b, n, w), w = lower + upper + 1, entry [k, i, j] being df_i/dx_(i - lower + j), and costs w + 1 copies of the
    field in one call. W = a M - J is factored by structured elimination: blocks of q = lower + upper equations hold 2 q
    unknowns each and share q of them with the next block; a pair of blocks is stacked (2 q, 3 q), LU with partial pivoting
    over its 2 q rows takes the shared unknowns out and leaves one block of q equations; log2(n / q) rounds, each one batched
    LU. Work 22 n q^2, memory 7 n q, q taken up to a multiple of 4. Rows are exchanged within pairs only, so growth is
    possible where a band LU has none: every solution is checked by its backward error |r - W y| / (|W| |y| + |r|) (maximum
    norms), refined once where that is above 1e3 roundings, and made nan where it is then above 1e-6 (1e-3 in float32), which
    rejects the step. M may be None, (n,) or (n, n) within the band. Up to 100 components, or 8 (lower + upper), full LU,
    which is faster there. Shapes: x (b, *s) flattened to n.

    ValueError for negative bandwidths, an `order` that is no permutation, or a mass matrix that leaves the band. Source: S. J.
    Wright, SIAM J. Sci. Stat. Comput. 13, 1992 and Numer. Math. 67, 1994. Caveat: entries of df/dx outside the band must be
    zero, they would be added to entries inside; `banded_from_pattern(detect(f, t, x))` finds a band.
    Use: `ob.integrate(f, x0, (0.0, 1.0), method="rodas5p", sparsity=Banded(2, 2))`.
    """

    lower: int
    upper: int
    order: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("lower", "upper"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 0:
                raise ValueError(f"Banded: {name} must be a whole number from 0, got {getattr(self, name)!r}.")
        if self.order is not None and sorted(self.order) != list(range(len(self.order))):
            raise ValueError("Banded: order must hold each of 0 ... n - 1 once.")

    @cached_property
    def _order(self) -> Tensor | None:
        return None if self.order is None else torch.tensor(self.order, dtype=torch.int64)

    @cached_property
    def _inverse(self) -> Tensor | None:
        return None if self._order is None else self._order.argsort()

    def widths(self, n: int) -> tuple[int, int]:
        """(lower, upper) as they matter for n components."""
        if self.order is not None and len(self.order) != n:
            raise ValueError(f"Banded: order has {len(self.order)} places, the state has {n} components.")
        return min(self.lower, n - 1), min(self.upper, n - 1)

    def empty(self, x: Tensor) -> Tensor:
        """Zeros (b, n, w)."""
        n = x[0].numel()
        return x.new_zeros(len(x), n, sum(self.widths(n)) + 1)

    def differentiate(self, f: System, t: Float[Tensor, " b"], x: Tensor) -> tuple[Tensor, Tensor]:
        """The band of df/dx (b, n, w) from w colours, or taken out of the user's full one, and df/dt."""
        n = x[0].numel()
        lower, upper = self.widths(n)
        width = lower + upper + 1
        column = torch.arange(n, device=x.device)[:, None] + torch.arange(-lower, upper + 1, device=x.device)
        inside = (column >= 0) & (column < n)
        order = None if self._order is None else self._order.to(x.device)
        if f.jacobian is not None:
            here = column.clamp(0, n - 1)
            rows = torch.arange(n, device=x.device)[:, None]
            places = (rows, here) if order is None else (order[rows], order[here])
            return torch.where(inside, f.jacobian(t, x)[:, *places], 0.0), time_derivative(f, t, x)
        seeds = band_seeds(n, width).to(x)
        compressed, dfdt = products(f, t, x, seeds if self._inverse is None else seeds[:, self._inverse.to(x.device)])
        by_row = compressed.permute(1, 2, 0)
        by_row = by_row if order is None else by_row[:, order]
        picked = by_row.gather(2, column.remainder(width).clamp_max(len(seeds) - 1).expand(len(x), n, width))
        return torch.where(inside, picked, 0.0), dfdt

    def factor(self, f: System, jac: Float[Tensor, " b n w"], shift: Tensor) -> BandFactors | lu.Factors:
        """Factors of shift M - J; full LU where the matrix is small or the band wide."""
        n = jac.shape[1]
        lower, upper = self.widths(n)
        band = shift[:, None, None] * self._mass_band(f.mass, jac) - jac
        if fits_full(n, lower + upper):
            return lu.factor(_filled(full(band, lower)))
        return factor_band(band, lower)

    def _mass_band(self, mass: Tensor | None, jac: Tensor) -> Float[Tensor, " n w"]:
        """M in the order and storage of J."""
        n, width = jac.shape[1:]
        lower, _ = self.widths(n)
        order = slice(None) if self._order is None else self._order.to(jac.device)
        if mass is not None and mass.dim() == 2:
            column = torch.arange(n, device=jac.device)[:, None] + torch.arange(-lower, width - lower, device=jac.device)
            inside = (column >= 0) & (column < n)
            self._check_mass(mass, lower, width - lower - 1)
            moved = torch.arange(n, device=jac.device)[order]
            return torch.where(inside, mass[moved[:, None], moved[column.clamp(0, n - 1)]], 0.0)
        diagonal = torch.ones(n, dtype=jac.dtype, device=jac.device) if mass is None else mass[order]
        return pad(diagonal[:, None], (lower, width - lower - 1))

    def _check_mass(self, mass: Tensor, lower: int, upper: int) -> None:
        """Once for each mass matrix: looking through n^2 entries costs more than a solve."""
        fits: set[Banded] = _CHECKED.get(mass) or set()
        if self in fits:
            return
        place = torch.arange(len(mass), device=mass.device) if self._inverse is None else self._inverse.to(mass.device)
        rows, columns = mass.detach().nonzero(as_tuple=True)
        reach = place[rows] - place[columns]
        if bool(((reach > lower) | (reach < -upper)).any()):
            raise ValueError(
                f"mass: has entries up to {int(reach.max())} below and {int(-reach.min())} above the diagonal, outside the "
                f"band ({lower}, {upper}) of df/dx; give bandwidths that hold both."
            )
        _CHECKED[mass] = fits | {self}

    def solve(self, f: System, factors: BandFactors | lu.Factors, rhs: Float[Tensor, "b *s"]) -> Float[Tensor, "b *s"]:
        """(shift M - J)^-1 rhs; nan where the backward error is too large."""
        flat = rhs.flatten(1)
        flat = flat if self._order is None else flat[:, self._order.to(rhs.device)]
        if isinstance(factors, BandFactors):
            lower, _ = self.widths(flat.shape[1])
            out = solve_band(factors, flat, lower)
        else:
            n = flat.shape[1]
            flat = pad(flat.to(torch.promote_types(flat.dtype, factors.lu.dtype)), (0, factors.lu.shape[1] - n))
            out = lu.solve(factors, flat)[:, :n]
        out = out if self._inverse is None else out[:, self._inverse.to(rhs.device)]
        return out.reshape(rhs.shape)

    def norm(self, jac: Float[Tensor, " b n w"]) -> Float[Tensor, " b"]:
        """The largest row sum of |J|."""
        return jac.abs().sum(2).amax(1).double()


def fits_full(n: int, reach: int) -> bool:
    """Whether full LU is faster than elimination in blocks of `reach` (measured on one thread, batches of 1 and 16)."""
    return n <= max(100, 8 * reach)


def _filled(matrix: Float[Tensor, " b n n"]) -> Float[Tensor, " b m m"]:
    """Filled up by rows of the identity to a multiple of 4: LAPACK's bits depend on how a matrix lies in memory."""
    n = matrix.shape[1]
    more = -n % BLOCK
    rest = torch.ones(more, dtype=matrix.dtype, device=matrix.device)
    return pad(matrix, (0, more, 0, more)) + torch.diag(pad(rest, (n, 0)))


def structure_of(pattern: Any, n: int | None = None) -> Structure:
    """How df/dx of this pattern is best held: `Banded` if a reordering gives a narrow band, else `Coloured`, else `Dense`.

    pattern: what `pattern_of` reads; n: needed for bandwidths only. A band counts as narrow below a quarter of n.
    ValueError and TypeError as in `pattern_of`. Caveat: fill-in of a general sparse LU is not exploited, so a
    two-dimensional grid is a band of the width of the grid. Use: `structure_of(scipy_pattern)`.
    """
    found = pattern_of(pattern, n)
    band = banded_from_pattern(found)
    if 4 * (band.lower + band.upper + 1) <= found.n:
        return band
    coloured = colour(found)
    return Coloured(coloured) if coloured.colours < found.n else Dense()


def banded_from_pattern(pattern: Any, n: int | None = None) -> Banded:
    """The bandwidths of a pattern, in its own order or in that of reverse Cuthill and McKee, whichever is narrower.

    pattern: what `pattern_of` reads; n: needed for bandwidths only. Source: Cuthill & McKee, Proc. 24th Nat. Conf. ACM, 1969;
    SciPy's implementation. Caveat: a heuristic; one full row or column makes the band full. Use: `banded_from_pattern(mask)`.
    """
    from scipy.sparse import coo_array, csr_array
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    found = pattern_of(pattern, n)
    own = _widths(found, torch.arange(found.n))
    ones = torch.ones(2 * len(found.rows), dtype=torch.int8).numpy()
    both = (torch.cat([found.rows, found.columns]).numpy(), torch.cat([found.columns, found.rows]).numpy())
    order = reverse_cuthill_mckee(csr_array(coo_array((ones, both), shape=(found.n, found.n))), symmetric_mode=True)
    order = torch.from_numpy(order.astype("int64"))
    place = order.argsort()
    new = _widths(found, place)
    return Banded(*own) if sum(own) <= sum(new) else Banded(*new, tuple(order.tolist()))


def _widths(pattern: Pattern, place: Int[Tensor, " n"]) -> tuple[int, int]:
    reach = place[pattern.rows] - place[pattern.columns]
    return (max(int(reach.max()), 0), max(int(-reach.min()), 0)) if len(reach) else (0, 0)
