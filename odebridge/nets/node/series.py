"""Irregular series: the ODE-RNN, which looks at them as they come, and the latent ODE, which explains them by one solve."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from odebridge.nets.node.fields import MLPField
from odebridge.nets.node.solver import DEFAULT, Solver
from odebridge.nets.node.splines import check_mask


class Walked(NamedTuple):
    """What an `ODERNN` has seen at each of k times: the state before and after it looked, (b, k, hidden)."""

    before: Float[Tensor, "b k h"]
    after: Float[Tensor, "b k h"]


class ODERNN(nn.Module):
    """h(t_i-) = h(t_(i-1)) carried by h' = f(t, h);  h(t_i) = GRU([x_i, m_i], h(t_i-)) where anything was observed.

    dim: channels of the series; hidden: size of h, 0 at first. field: f, a module (t, h) -> (b, hidden); None: a small one.
    Shapes: times (k,), rising (falling: the series is read from its end), values (b, k, dim), mask the same, None: all seen ->
    `Walked`. Any method and gradient policy; there is one solve between every two times, for the whole batch.
    ValueError for times that do not rise or fall, or do not fit the values.
    Source: Rubanova, Chen & Duvenaud, Latent ODEs for irregularly-sampled time series, NeurIPS 2019, algorithm 1.
    Caveat: k - 1 short solves are dear with an adaptive method; `Solver("heun", steps=1)` is often enough.
    Use: `ODERNN(2, 16)(times, values, mask).after[:, -1]`.
    """

    def __init__(
        self, dim: int, hidden: int, field: nn.Module | None = None, solver: Solver = DEFAULT, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.field = field or MLPField(hidden, (hidden,), dtype=dtype)
        self.cell, self.solver = nn.GRUCell(2 * dim, hidden, dtype=dtype), solver

    def forward(
        self, times: Float[Tensor, " k"], values: Float[Tensor, "b k d"], mask: Bool[Tensor, "b k d"] | None = None
    ) -> Walked:
        """The states at all times."""
        _check_times(times, values)
        check_mask(mask, values)
        seen = torch.ones_like(values, dtype=torch.bool) if mask is None else mask
        shown = torch.cat([torch.where(seen, values, 0.0), seen.to(values)], -1)
        h = values.new_zeros(len(values), self.cell.hidden_size)
        before, after = [], []
        for i in range(len(times)):
            h = h if i == 0 else self.solver.path(self.field, h, times[i - 1 : i + 1])[0][:, -1]
            before.append(h)
            h = torch.where(seen[:, i].any(-1, keepdim=True), self.cell(shown[:, i], h), h)
            after.append(h)
        return Walked(torch.stack(before, 1), torch.stack(after, 1))


class Belief(NamedTuple):
    """A diagonal Gaussian over the first latent state, (b, latent)."""

    mean: Float[Tensor, "b l"]
    log_std: Float[Tensor, "b l"]

    def divergence(self) -> Float[Tensor, " b"]:
        """KL(q(z_0) || N(0, 1)), in nats."""
        return (0.5 * (self.mean**2 + (2 * self.log_std).exp() - 1.0) - self.log_std).sum(-1)


class LatentODE(nn.Module):
    """q(z_0 | x) by an ODE-RNN that reads the series from its end;  z' = f(t, z), z(t_0) = z_0;  x(t) = head(z(t)).

    encoder: an `ODERNN`; its last state gives mean and log std of z_0. field: f, (t, z) -> (b, latent). head: latent -> dim.
    Shapes: times (k,), values and mask (b, k, dim) -> x at `asked` (default: the same times) (b, k', dim). One solve decodes a
    series, at any times, those between and beyond the observed ones too.
    Source: Chen et al., NeurIPS 2018, section 5; Rubanova et al., NeurIPS 2019.
    Caveat: nothing that is observed after t_0 can correct a path but through z_0.
    Use: `net = LatentODE(ODERNN(2, 16), MLPField(4), nn.Linear(4, 2), 4); net(times, values, mask)`.
    """

    def __init__(self, encoder: ODERNN, field: nn.Module, head: nn.Module, latent: int, solver: Solver = DEFAULT) -> None:
        super().__init__()
        self.encoder, self.field, self.head, self.solver = encoder, field, head, solver
        weight = encoder.cell.weight_hh
        self.belief = nn.Linear(encoder.cell.hidden_size, 2 * latent, dtype=weight.dtype)

    def encode(self, times: Tensor, values: Tensor, mask: Tensor | None = None) -> Belief:
        """Q(z_0 | x)."""
        last = self.encoder(times.flip(0), values.flip(1), None if mask is None else mask.flip(1)).after[:, -1]
        return Belief(*self.belief(last).chunk(2, -1))

    def decode(self, z0: Float[Tensor, "b l"], times: Float[Tensor, " k"]) -> Float[Tensor, "b k d"]:
        """X at `times`, of which the first is that of z0."""
        return self.head(self.solver.path(self.field, z0, times)[0])

    def forward(self, times: Tensor, values: Tensor, mask: Tensor | None = None, asked: Tensor | None = None) -> Tensor:
        """The path from the mean of z_0."""
        return self.decode(self.encode(times, values, mask).mean, times if asked is None else asked)

    def bound(
        self, times: Tensor, values: Tensor, mask: Tensor | None = None, *, noise: float = 0.1, weight: float = 1.0
    ) -> Float[Tensor, " b"]:
        """-E log N(x | path, noise^2) + weight KL, in nats: minus the ELBO if weight is 1.

        The mean is that of one draw of z_0, by PyTorch's own generator. The sum goes over the observed values; constants are
        left out. ValueError for noise that is not positive, and a weight below 0.
        """
        if not noise > 0.0 or not weight >= 0.0:
            raise ValueError(f"LatentODE: noise must be above 0 and weight at least 0, got {noise!r} and {weight!r}.")
        belief = self.encode(times, values, mask)
        z0 = belief.mean + belief.log_std.exp() * torch.randn_like(belief.mean)
        off = self.decode(z0, times) - values
        if mask is not None:
            off = torch.where(mask, off, 0.0)  # before the square: a NaN that was not observed must not reach its derivative
        return 0.5 * (off / noise).square().sum((1, 2)) + weight * belief.divergence()


def _check_times(times: Tensor, values: Tensor) -> None:
    """ValueError in a sentence for times that a series cannot be read at."""
    k = values.shape[1]
    if times.shape != (k,):
        raise ValueError(
            f"times: must have shape ({k},), shared by the batch of {tuple(values.shape)}, got {tuple(times.shape)}."
        )
    gaps = times.diff()
    if not bool((gaps > 0).all() | (gaps < 0).all()):
        raise ValueError("times: must rise, or fall, from one to the next; merge values of the same time into one.")
