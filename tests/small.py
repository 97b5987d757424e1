"""Small modules in float64 for the tests of the variants, and gradients against differences; no tests of its own."""

from __future__ import annotations

import pytest
import torch

KIND = torch.float64


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=KIND, generator=torch.Generator().manual_seed(seed))


def made(build):
    """A module with the same weights every time, in float64."""
    torch.manual_seed(0)
    return build().to(KIND)


def gradients_of(loss, tensors):
    """Zero where a tensor plays no part, such as the constant of an energy."""
    return torch.autograd.grad(loss, tensors, allow_unused=True, materialize_grads=True)


def agrees_with_differences(loss, tensors, step=1e-6, tol=1e-6):
    """d loss / d (every tensor) along one random direction, against a central difference."""
    gradients = gradients_of(loss(), tensors)
    ways = [drawn(*v.shape, seed=3) for v in tensors]

    def moved(by: float) -> float:
        with torch.no_grad():
            for v, w in zip(tensors, ways, strict=True):
                v += by * w
        value = float(loss().detach())
        with torch.no_grad():
            for v, w in zip(tensors, ways, strict=True):
                v -= by * w
        return value

    slope = (moved(step) - moved(-step)) / (2 * step)
    found = sum(float((g * w).sum()) for g, w in zip(gradients, ways, strict=True))
    assert found == pytest.approx(slope, rel=tol, abs=1e-12), f"{found} is not {slope}"
