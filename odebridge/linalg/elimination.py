"""Structured elimination for band matrices: pairs of neighbouring blocks of rows are merged until one is left."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from odebridge.linalg import lu

BLOCK = (
    4  # rows of a block: a multiple of this, so that all matrices start at multiples of 64 bytes, on which LAPACK's bits depend
)
ROUNDINGS = 1e3  # a backward error of more roundings than this calls for a step of refinement


class Level(NamedTuple):
    """What one round of merging has done to its m pairs of blocks of q equations."""

    mix: Float[Tensor, "b m r r"]  # r = 2 q: L^-1 P of a pair
    own: Float[Tensor, "b m q q"]  # U^-1 of the unknowns that the pair shares
    rest: Float[Tensor, "b m q r"]  # U^-1 times the coefficients of the pair's outer unknowns


class BandFactors(NamedTuple):
    """Factors of a batch of banded matrices."""

    band: Float[Tensor, " b n w"]  # the matrix, for its residual
    size: Float[Tensor, " b"]  # its largest row sum
    levels: tuple[Level, ...]
    last: lu.Factors  # of the equations that are left
    singular: Bool[Tensor, " b"]


def _by_block(band: Float[Tensor, " b n w"], lower: int) -> tuple[Tensor, Tensor]:
    """The equations q at a time, as coefficients (b, m, q, q) of the unknowns shared with the block before and after.

    Rows i q ... i q + q - 1 of a band of q + 1 diagonals hold columns i q - lower ... i q - lower + 2 q - 1. Rows that fill up
    the last block are those of the identity.
    """
    b, n, width = band.shape
    band = pad(band, (0, -(width - 1) % BLOCK if width > 1 else BLOCK))
    q = band.shape[2] - 1
    filling = torch.zeros(b, -n % q, q + 1, dtype=band.dtype, device=band.device)
    filling[:, :, lower] = 1.0
    band = torch.cat([band, filling], 1).reshape(b, -1, q, q + 1)
    # Rows longer by q zeros, read on as rows shorter by one: each row moves one place to the right against the last.
    skewed = pad(band, (0, q)).flatten(2)[:, :, : 2 * q * q].reshape(b, -1, q, 2 * q)
    return skewed[..., :q], skewed[..., q:]


def full(band: Float[Tensor, " b n w"], lower: int) -> Float[Tensor, " b n n"]:
    """The matrix with these diagonals, the first of them `lower` below the main one."""
    b, n, width = band.shape
    rows = n + width - 1
    return pad(band, (0, n)).flatten(1)[:, : n * rows].reshape(b, n, rows)[:, :, lower : lower + n]


def factor_band(band: Float[Tensor, " b n w"], lower: int) -> BandFactors:
    """LU with the rows of two blocks as candidates for each pivot. Never raises: `singular` says which are, or not finite.

    A pair of blocks is the only place where its shared unknowns occur, so a zero pivot there means a singular matrix.
    """
    bad = ~torch.isfinite(band).flatten(1).all(1)
    eye = torch.zeros(band.shape[2], dtype=band.dtype, device=band.device)
    eye[lower] = 1.0
    band = torch.where(bad[:, None, None], eye, band).contiguous()
    left, right = _by_block(band, lower)
    b, q = left.shape[0], left.shape[2]
    unit = torch.eye(q, dtype=band.dtype, device=band.device)
    levels: list[Level] = []
    while left.shape[1] > 1:
        m = left.shape[1] // 2
        nought = torch.zeros_like(left[:, :m])
        pairs = torch.cat(
            [
                torch.cat([right[:, 0 : 2 * m : 2], left[:, 0 : 2 * m : 2], nought], 3),
                torch.cat([left[:, 1 : 2 * m : 2], nought, right[:, 1 : 2 * m : 2]], 3),
            ],
            2,
        )
        # LU of the shared columns alone: its derivative would need the others to be regular too, and at the ends they are not.
        packed, pivots, _ = torch.linalg.lu_factor_ex(pairs[..., :q])
        p, low, up = torch.lu_unpack(packed, pivots)
        flat = (up.diagonal(dim1=2, dim2=3) == 0).flatten(1).any(1)
        bad = bad | flat
        up = torch.where(flat[:, None, None, None], unit, up)
        low = torch.cat([low, pad(unit, (0, 0, q, 0)).expand(b, m, 2 * q, q)], 3)
        moved = torch.cat([p.mT, pairs[..., q:].gather(2, p.abs().argmax(2)[..., None].expand(b, m, 2 * q, 2 * q))], 3)
        moved = torch.linalg.solve_triangular(low, moved, upper=False, unitriangular=True)
        inverse = torch.linalg.solve_triangular(up, torch.cat([unit.expand_as(up), moved[..., :q, 2 * q :]], 3), upper=True)
        # LAPACK answers by columns; sums over another layout, such as after a gather, would have other bits.
        levels.append(Level(*(part.contiguous() for part in (moved[..., : 2 * q], inverse[..., :q], inverse[..., q:]))))
        left = torch.cat([moved[..., q:, 2 * q : 3 * q], left[:, 2 * m :]], 1)
        right = torch.cat([moved[..., q:, 3 * q :], right[:, 2 * m :]], 1)
    # Of the outermost unknowns `lower` on the left and q - lower on the right lie outside the matrix.
    last = lu.factor(torch.cat([left[:, 0, :, lower:], right[:, 0, :, :lower]], 2))
    return BandFactors(band, band.abs().sum(2).amax(1), tuple(levels), last, bad | last.singular)


def substitute(factors: BandFactors, rhs: Float[Tensor, " b n"], lower: int) -> Float[Tensor, " b n"]:
    """matrix^-1 rhs by the factors as they are. Sums of products: the bits of a matrix product depend on the batch."""
    b, n = rhs.shape
    q = factors.last.lu.shape[1]
    r = pad(rhs, (0, -n % q)).reshape(b, -1, q)
    kept: list[Tensor] = []
    for level in factors.levels:
        m = level.mix.shape[1]
        mixed = (level.mix * r[:, : 2 * m].reshape(b, m, 1, 2 * q)).sum(3)
        kept.append(mixed[..., :q])
        r = torch.cat([mixed[..., q:], r[:, 2 * m :]], 1)
    ends = lu.solve(factors.last, r[:, 0])
    x = pad(ends, (lower, q - lower)).reshape(b, 2, q)
    for level, top in zip(reversed(factors.levels), reversed(kept), strict=True):
        m = level.mix.shape[1]
        outer = torch.cat([x[:, :m], x[:, 1 : m + 1]], 2)
        shared = (level.own * top[:, :, None]).sum(3) - (level.rest * outer[:, :, None]).sum(3)
        x = torch.cat([torch.stack([x[:, :m], shared], 2).reshape(b, 2 * m, q), x[:, m:]], 1)
    return x.flatten(1)[:, lower : lower + n]


def times(band: Float[Tensor, " b n w"], v: Float[Tensor, " b n"], lower: int) -> Float[Tensor, " b n"]:
    """The product of the band matrix with v, as sums of products."""
    width = band.shape[2]
    return (band * pad(v, (lower, width - lower - 1)).unfold(1, width, 1)).sum(2)


def solve_band(factors: BandFactors, rhs: Float[Tensor, " b n"], lower: int) -> Float[Tensor, " b n"]:
    """matrix^-1 rhs, checked: refined once where the backward error is above 1e3 roundings, nan where it stays large.

    The backward error is |rhs - W y| / (|W| |y| + |rhs|) in maximum norms; large is a millionth, a thousandth in float32.
    """
    rhs = rhs.to(torch.promote_types(rhs.dtype, factors.band.dtype))
    y = substitute(factors, rhs, lower)
    residual = rhs - times(factors.band, y, lower)
    off = _backward_error(factors, rhs, y, residual)
    eps = torch.finfo(y.dtype).eps
    poor = ~(off <= ROUNDINGS * eps)
    if torch.compiler.is_compiling() or bool(poor.any()):
        y = torch.where(poor[:, None], y + substitute(factors, residual, lower), y)
        off = _backward_error(factors, rhs, y, rhs - times(factors.band, y, lower))
        y = torch.where((off <= (1e-6 if eps < 1e-10 else 1e-3))[:, None], y, torch.nan)
    return y


@torch.no_grad()
def _backward_error(factors: BandFactors, rhs: Tensor, y: Tensor, residual: Tensor) -> Float[Tensor, " b"]:
    scale = factors.size * y.abs().amax(1) + rhs.abs().amax(1)
    return residual.abs().amax(1) / torch.where(scale == 0, 1.0, scale)
