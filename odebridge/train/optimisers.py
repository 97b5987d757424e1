"""Optimisers and schedules by name; a new one is one function and one line here."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


def _sgd(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr, momentum=0.9, weight_decay=weight_decay)


def _adamw(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr, weight_decay=weight_decay)


class Muon(torch.optim.Optimizer):
    """W <- W - lr sqrt(max(1, rows / columns)) U(g + mu m),  m <- mu m + g,  U(M) M with its singular values moved near 1.

    For matrices and convolutions (out, in k k); vectors, and groups with `matrices=False`, go by AdamW at lr / 10.
    weight_decay as in AdamW. Source: Jordan et al., Muon, 2024 (Nesterov momentum 0.95, five steps of Newton and Schulz);
    torch.optim.Muon takes matrices only. Caveat: lr is the size of an update, whatever the gradient: 0.02 to 0.05 suit ResNets.
    Use: `Muon(net.parameters(), lr=0.03)`.
    """

    def __init__(self, params: Any, lr: float = 0.03, weight_decay: float = 0.0, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "matrices": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One update."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                p.mul_(1.0 - group["lr"] * group["weight_decay"])
                update = self._matrix if group["matrices"] and p.dim() > 1 else self._adam
                update(p, p.grad, self.state[p], group)

    @staticmethod
    def _matrix(p: Tensor, gradient: Tensor, memory: dict[str, Tensor], group: dict[str, Any]) -> None:
        m = memory.setdefault("momentum", torch.zeros_like(p))
        m.mul_(group["momentum"]).add_(gradient)
        flat = (gradient + group["momentum"] * m).flatten(1)
        scale = max(1.0, flat.shape[0] / flat.shape[1]) ** 0.5
        p.add_(orthogonalised(flat).reshape(p.shape), alpha=-group["lr"] * scale)

    @staticmethod
    def _adam(p: Tensor, gradient: Tensor, memory: dict[str, Tensor], group: dict[str, Any]) -> None:
        n = memory.setdefault("step", torch.zeros((), device=p.device))
        first, second = (memory.setdefault(k, torch.zeros_like(p)) for k in ("first", "second"))
        n += 1
        first.lerp_(gradient, 0.1)
        second.lerp_(gradient.square(), 0.05)
        denominator = (second / (1 - 0.95**n)).sqrt() + 1e-8
        p.sub_(0.1 * group["lr"] * (first / (1 - 0.9**n)) / denominator)


def orthogonalised(matrix: Float[Tensor, "r c"]) -> Float[Tensor, "r c"]:
    """A matrix with the singular vectors of this one, and singular values of about 1, by five steps of a quintic iteration.

    X <- a X + (b A + c A A) X,  A = X X^T, from X / |X|, (a, b, c) = (3.4445, -4.7750, 2.0315). Source: Jordan et al., 2024.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix.shape[0] <= matrix.shape[1]
    x = (matrix if wide else matrix.T).float()
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x if wide else x.T).to(matrix.dtype)


def _muon(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    readout = {id(p) for m in linear[-1:] for p in m.parameters()}  # the layer that makes the logits
    inner = [p for p in model.parameters() if id(p) not in readout]
    outer = [p for p in model.parameters() if id(p) in readout]
    groups: list[dict[str, Any]] = [{"params": inner}]
    return Muon([*groups, *([{"params": outer, "matrices": False}] if outer else [])], lr, weight_decay)


def _constant(_done: float) -> float:
    return 1.0


def _cosine(done: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * done))


def _onecycle(done: float) -> float:
    """A linear rise from 1/25 over the first 30 per cent, then half a cosine to 0."""
    return 0.04 + 0.96 * done / 0.3 if done < 0.3 else _cosine((done - 0.3) / 0.7)


def _steps(done: float) -> float:
    """A tenth at 81 and a hundredth at 122 of 164 epochs, as the group of the paper's authors trains on CIFAR."""
    return 1.0 if done < 81 / 164 else 0.1 if done < 122 / 164 else 0.01


def _thirds(done: float) -> float:
    """A tenth after 30, 60 and 90 of 100 epochs each, as they train on ImageNet."""
    return 0.1 ** sum(done >= part for part in (0.3, 0.6, 0.9))


OPTIMISERS: dict[str, Callable[[nn.Module, float, float], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "adamw": _adamw,
    "muon": _muon,
}
SCHEDULES: dict[str, Callable[[float], float]] = {  # part done, 0 to 1 -> factor on lr
    "none": _constant,
    "cosine": _cosine,
    "onecycle": _onecycle,
    "steps": _steps,
    "thirds": _thirds,
}
