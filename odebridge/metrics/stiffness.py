"""The relative change along a trajectory: NSI and TNS of a network, SAI of an ODE solution."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

EPS = 1e-8  # keeps the index of a zero state finite


def _norms(v: Float[Tensor, "b k *s"]) -> Float[Tensor, "b k"]:
    """l2 norm of every state, in at least float32."""
    wide = torch.promote_types(v.dtype, torch.float32)
    return torch.linalg.vector_norm(v.flatten(2), dim=2, dtype=None if wide == v.dtype else wide)


def _check(xs: Tensor) -> None:
    if xs.dim() < 3 or xs.shape[1] < 2:
        raise ValueError(
            "xs must hold at least two states per sample, shape (samples, states, *state), such as `xs` of a solution with "
            f"save=ob.Every(); got {tuple(xs.shape)}. For one trajectory (states, n) write xs[None]."
        )


def nsi(xs: Float[Tensor, "b k *s"]) -> Float[Tensor, "b k-1"]:
    """Neural stiffness index of every step: |x_{i+1} - x_i| / (|x_i| + 1e-8), l2 norms over the whole state of one sample.

    xs: successive states (b, k, *s); returns (b, k - 1). ValueError for fewer than two states.
    Source: Huang et al., ICCV 2023, arXiv 2308.09939; the formula is inferred from its figures and from SAI with dt = 1.
    Caveat: it measures activity (it follows the local error of a step), not stability-limited stiffness.
    Use: `nsi(stage.solve(x, save=ob.Every()).xs)`.
    """
    _check(xs)
    return _norms(xs[:, 1:] - xs[:, :-1]) / (_norms(xs[:, :-1]) + EPS)


def tns(xs: Float[Tensor, "b k *s"], mean: bool = False) -> Float[Tensor, " b"]:
    """Total neural stiffness: the sum of `nsi` over the steps, or with mean=True their mean, to compare unequal depths.

    xs (b, k, *s); returns (b,). Source: the name is that of J. Kirk's resnet_stiffness (2024), which averages.
    Caveat: the sum grows with the number of steps. Use: `tns(stage.solve(x, save=ob.Every()).xs)`.
    """
    index = nsi(xs)
    return index.mean(1) if mean else index.sum(1)


def sai(xs: Float[Tensor, "b k *s"], ts: Float[Tensor, "b k"] | Float[Tensor, " k"]) -> Float[Tensor, "b k-1"]:
    """Stiffness-aware index of every step: |x_{i+1} - x_i| / |t_{i+1} - t_i| / (|x_i| + 1e-8), with the true time between.

    xs (b, k, *s) at times ts, (b, k) or (k,); returns (b, k - 1). NaN entries (padding beyond a trajectory's end) stay NaN; two
    equal times give inf, or NaN where the state is equal too. ValueError where the shapes disagree.
    Source: Liang, Huang & Zhang, ICLR 2022 (SANN). Caveat: it is large where the solution moves fast, so it marks where an
    implicit solver takes short steps, and not where stability limits an explicit one.
    Use: `sai(sol.xs, sol.ts)`.
    """
    _check(xs)
    if ts.shape not in (xs.shape[:2], xs.shape[1:2]):
        raise ValueError(f"ts must have shape {tuple(xs.shape[:2])} or {tuple(xs.shape[1:2])} like xs, got {tuple(ts.shape)}.")
    index = nsi(xs)
    return index / ts.diff(dim=-1).abs().to(index.dtype)
