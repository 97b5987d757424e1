"""What may be differentiated once only says so, instead of giving a second derivative that lacks a part."""
# ruff: noqa: ARG004 - the signatures are torch's

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _FirstOnly(torch.autograd.Function):
    """The identity; a backward pass that keeps a graph is refused with a sentence."""

    @staticmethod
    def forward(x: Tensor, why: str) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.why = inputs[1]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        refuse_second(ctx.why)
        return grads[0], None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        return tangents[0].view_as(tangents[0])

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> Any:
        return _FirstOnly.apply(*args), in_dims[0]


def refuse_second(why: str) -> None:
    """RuntimeError inside a backward pass that is to be differentiated again (`create_graph=True`)."""
    if torch.is_grad_enabled():
        raise RuntimeError(why)


def first_only(x: Tensor, why: str) -> Tensor:
    """X itself; differentiating its derivative raises RuntimeError(why)."""
    return _FirstOnly.apply(x, why) if x.requires_grad else x  # type: ignore[return-value]
