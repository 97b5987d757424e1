"""A set of labelled images, split into training and test."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Images:
    """Standardised images (n, C, H, W) float32 and labels (n,) int64 in 0 .. classes - 1."""

    train_x: Float[Tensor, "n c h w"]
    train_y: Int[Tensor, " n"]
    test_x: Float[Tensor, "m c h w"]
    test_y: Int[Tensor, " m"]
    classes: int
    name: str
    mirror: bool = False  # does an image keep its class in the mirror? A shirt does, a digit does not.

    @property
    def channels(self) -> int:
        """Number of channels C."""
        return self.train_x.shape[1]


def standardised(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Both float32 with the mean and standard deviation of all training pixels taken out."""
    train, test = train.float(), test.float()
    mean, deviation = train.mean(), train.std(correction=0)
    return (train - mean) / deviation, (test - mean) / deviation


def shuffled(n: int, seed: int) -> Int[Tensor, " n"]:
    """A permutation of 0 .. n - 1 that depends on the seed alone."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))
