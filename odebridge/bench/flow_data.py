"""Pairs of states of a family, the scale of errors, and how an answer is judged."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from odebridge.bench.flows import FLOWS
from odebridge.integrate import At, integrate
from odebridge.problems import Problem

DATA_RTOL, TRUTH_RTOL = 1e-8, 1e-11
TIMES = 8  # states on the way that the DeepONet is shown; the others are shown the last one


@dataclass(frozen=True)
class Pairs:
    """Features (b, d), start and end states (b, n), float64; scale and centre (n,) of the training end states and starts.

    way: (b, TIMES, n) states at equal parts of the span. error_scale: standard deviation of the training end states, the unit
    of all errors. f_evals and seconds: what the training states have cost.
    """

    task: Problem
    features: Tensor
    way: Tensor
    test: Problem
    test_features: Tensor
    test_end: Tensor
    error_scale: Tensor
    scale: Tensor
    centre: Tensor
    f_evals: int
    seconds: float

    @property
    def end(self) -> Float[Tensor, "b n"]:
        """End states of the training systems."""
        return self.way[:, -1]


@lru_cache(maxsize=2)
def pairs(family: str, train: int, held_out: int, seed: int, device: str = "cpu") -> Pairs:
    """Drawn by the seed alone; training states at rtol 1e-8, held-out ones at 1e-11, by Dopri8 or Rodas5P.

    RuntimeError where a reference solve fails.
    """
    this = FLOWS[family]
    task, features = this.sample(train, 2 * seed, device)
    test, test_features = this.sample(held_out, 2 * seed + 1, device)
    rough = integrated(task, "rodas5p" if this.stiff else "dopri8", 1e-4, None, throw=True).x1.std(0)
    t0, t1 = (float(t) for t in this.problem.span)
    clock = torch.tensor([t0 + (t1 - t0) * (i + 1) / TIMES for i in range(TIMES)], dtype=torch.float64)
    began = time.perf_counter()
    sol = integrated(task, "rodas5p" if this.stiff else "tsit5", DATA_RTOL, rough, throw=True, save=At(clock))
    seconds = time.perf_counter() - began
    assert isinstance(sol.xs, Tensor)
    exact = integrated(test, "rodas5p" if this.stiff else "dopri8", TRUTH_RTOL, rough, throw=True).x1
    both = torch.cat([task.x0, sol.xs[:, -1]])
    return Pairs(
        task, features, sol.xs, test, test_features, exact, sol.xs[:, -1].std(0), both.std(0), both.mean(0),
        int(sol.stats.f_evals.sum()), seconds,
    )  # fmt: skip


def integrated(task: Problem, method: str, rtol: float, scale: Tensor | None, **more: Any) -> Any:
    """One solve of all systems; atol = rtol times the scale of each component, as the errors are measured."""
    size = torch.ones_like(task.x0[:1]) if scale is None else scale[None]
    if scale is None and task.name == "robertson":
        size = size * torch.tensor([1.0, 1e-5, 1.0], dtype=size.dtype, device=size.device)
    more = {"max_steps": 200_000, **more}
    return integrate(
        task.field, task.x0, task.span, args=task.args, jacobian=task.jacobian, method=method, rtol=rtol,
        atol=(rtol * size).expand_as(task.x0).contiguous(), **more,
    )  # fmt: skip


def judged(x1: Float[Tensor, "b n"], found: Pairs) -> dict[str, float]:
    """Errors on the held-out systems: rms over the components, each in units of its own standard deviation at the end.

    A trajectory that did not arrive counts as infinitely wrong; quantiles are members of the sample.
    """
    off = ((x1.double() - found.test_end) / found.error_scale).square().mean(1).sqrt()
    ranked = torch.where(torch.isfinite(off), off, torch.inf).sort().values
    n = len(ranked)
    at = {"median": n // 2, "p90": min(n - 1, round(0.9 * n)), "p99": min(n - 1, round(0.99 * n))}
    return {**{k: float(ranked[i]) for k, i in at.items()}, "not_finite_states": int(torch.isinf(ranked).sum())}
