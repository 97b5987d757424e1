"""How many floating-point operations a computation takes, counted while it runs."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# They move numbers and compute none.
MOVES = (
    "cat", "stack", "clone", "copy_", "_to_copy", "empty", "empty_like", "new_empty", "zeros", "zeros_like", "new_zeros",
    "ones", "ones_like", "new_ones", "full", "full_like", "fill_", "zero_", "arange", "index", "index_put_", "index_put",
    "gather", "scatter", "masked_select", "nonzero", "_local_scalar_dense", "lift_fresh", "lift_fresh_copy",
    "constant_pad_nd", "index_select", "scalar_tensor", "eye", "contiguous", "repeat", "roll", "flip", "new_full",
    "linspace", "_unsafe_view", "index_copy_",
)  # fmt: skip


class Arithmetic(TorchDispatchMode):
    """Operations of everything that PyTorch computes inside the block, in `flops`.

    2 m k n for a product of matrices, 2/3 n^3 for an LU factorisation, 2 n^2 for each solve with one, and 1 for every element
    of any other floating-point result, be it a sum or a tanh; what only moves numbers counts nothing. Caveat: an exponential
    takes some ten times as long as an addition, and small operations in PyTorch cost their call: operations are not time.
    Use: `with Arithmetic() as count: net(x)`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute, and count."""
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        if not func.is_view and name not in MOVES:
            self.flops += _cost(name, args, out)
        return out


def _cost(name: str, args: Any, out: Any) -> float:
    first = out[0] if isinstance(out, (tuple, list)) and out else out
    if not isinstance(first, Tensor) or not (first.is_floating_point() or first.is_complex()):
        return 0.0
    if name in ("mm", "bmm", "matmul"):
        return 2.0 * first.numel() * args[0].shape[-1]
    if name in ("addmm", "baddbmm"):
        return 2.0 * first.numel() * args[1].shape[-1]
    if name in ("linalg_lu_factor_ex", "linalg_lu_factor", "_linalg_solve_ex", "linalg_inv_ex"):
        n = first.shape[-1]
        return 2.0 / 3.0 * n**3 * prod(first.shape[:-2])
    if name in ("linalg_lu_solve", "linalg_solve_triangular"):
        return 2.0 * first.numel() * first.shape[-2]
    return float(first.numel())


def flops(run: Callable[[], Any]) -> float:
    """Operations of one call, without a graph."""
    with torch.no_grad(), Arithmetic() as count:
        run()
    return count.flops
