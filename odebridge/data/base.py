"""What a data set is: images, points in the plane, or series over time, each split into training and test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
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


@dataclass(frozen=True)
class Points:
    """Labelled points of the plane: (n, 2) float32 and labels (n,) int64 in 0 .. classes - 1."""

    train_x: Float[Tensor, "n 2"]
    train_y: Int[Tensor, " n"]
    test_x: Float[Tensor, "m 2"]
    test_y: Int[Tensor, " m"]
    classes: int
    name: str


@dataclass(frozen=True)
class Series:
    """Series of d components at k common times, float64, (n, k, d) to train with and (m, k, d) to test on.

    times (k,) rise. masks, of the shape of the values: True where a value was observed; None: everywhere. labels (n,) int64, if
    the series have classes. invariant: (..., d) -> (...), a quantity that the true motion keeps, such as the energy.
    The values are true or noisy as the maker of the set says; where a mask is False they are what would have been observed.
    """

    times: Float[Tensor, " k"]
    train: Float[Tensor, "n k d"]
    test: Float[Tensor, "m k d"]
    name: str
    components: tuple[str, ...]
    train_mask: Bool[Tensor, "n k d"] | None = None
    test_mask: Bool[Tensor, "m k d"] | None = None
    train_labels: Int[Tensor, " n"] | None = None
    test_labels: Int[Tensor, " m"] | None = None
    invariant: Callable[[Tensor], Tensor] | None = None


DataSet = Images | Points | Series


def standardised(train: Tensor, test: Tensor, by_channel: bool = False) -> tuple[Tensor, Tensor]:
    """Both float32 with mean and standard deviation of all training pixels, or of those of each channel, taken out."""
    train, test = train.float(), test.float()
    if by_channel:
        mean, deviation = train.mean((0, 2, 3), keepdim=True), train.std((0, 2, 3), correction=0, keepdim=True)
    else:
        mean, deviation = train.mean(), train.std(correction=0)
    return (train - mean) / deviation, (test - mean) / deviation


def shuffled(n: int, seed: int) -> Int[Tensor, " n"]:
    """A permutation of 0 .. n - 1 that depends on the seed alone."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))
