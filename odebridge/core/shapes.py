"""Shapes: (b,) against (b, *s), and nests of tensors whose first dimension is the trajectories."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual


def per_sample(h: Tensor, x: Tensor) -> Tensor:
    """One number per trajectory (b,) in the shape and (real) dtype that multiplies x (b, *s): (b, 1, ..., 1)."""
    return h.to(real_dtype(x)).reshape(h.shape + (1,) * (x.dim() - 1))


def real_dtype(x: Tensor) -> torch.dtype:
    """The dtype of |x|: that of x, or of its real part if x is complex."""
    return x.dtype.to_real() if x.is_complex() else x.dtype


def every(mask: Tensor) -> Tensor:
    """True (b,) where all entries of one trajectory are: (b, *s) -> (b,)."""
    return mask if mask.dim() == 1 else mask.flatten(1).all(1)


def tree_map(fn: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """Apply fn to the tensors of a nest of tuples, lists, dicts, None and numbers; everything else stays as it is."""
    if isinstance(tree, Tensor):
        return fn(tree, *rest)
    if isinstance(tree, dict):
        return {k: tree_map(fn, v, *(r[k] for r in rest)) for k, v in tree.items()}
    if isinstance(tree, (tuple, list)):
        items = [tree_map(fn, *leaves) for leaves in zip(tree, *rest, strict=True)]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    return tree


def leaves(tree: Any) -> list[Tensor]:
    """The tensors of a nest, in order."""
    found: list[Tensor] = []
    todo = [tree]
    while todo:
        v = todo.pop()
        if isinstance(v, Tensor):
            found.append(v)
        elif isinstance(v, (tuple, list)):
            todo += reversed(v)
        elif isinstance(v, dict):
            todo += reversed(v.values())
    return found


def take(tree: Any, index: Tensor) -> Any:
    """The trajectories `index` (k,) of every tensor in the nest."""
    return tree_map(lambda v: v.index_select(0, index), tree)


def merge(mask: Tensor, new: Any, old: Any) -> Any:
    """`new` where mask (b,) holds, else `old`, for every tensor of two equal nests."""

    def pick(a: Tensor, b: Tensor) -> Tensor:
        return a if a is b else torch.where(mask.reshape(mask.shape + (1,) * (a.dim() - 1)), a, b)

    return tree_map(pick, new, old)


def repeat(tree: Any, times: int) -> Any:
    """The whole batch `times` over, one copy after the other, for every tensor of the nest."""
    return tree_map(lambda v: v.repeat(times, *(1,) * (v.dim() - 1)), tree)


def dual(tree: Any) -> bool:
    """Does a tensor of the nest carry a tangent of forward-mode differentiation."""
    return any(unpack_dual(v).tangent is not None for v in leaves(tree))
