"""Training and judging of learned Euler steps: seeds and learning rates of one kind of gate side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from odebridge.bench.flow_training import Recipe, clip_each
from odebridge.bench.residual import Data, Sample, Walk, built, formulas
from odebridge.integrate import Every

CAP = 10.0  # standard deviations: an end further off, or not finite, has blown up, and counts as this far off
BOUND = 50.0  # while training, in units of the data: a state beyond goes no further
RATES = (5e-3, 2e-2, 8e-2)


@dataclass(frozen=True)
class Budget:
    """The same for every kind: iterations, starts of one, and the learning rates that are tried."""

    iterations: int = 400
    batch: int = 128
    rates: tuple[float, ...] = RATES


def off(end: Float[Tensor, "*b n"], want: Float[Tensor, "*b n"], found: Data) -> Float[Tensor, "*b"]:
    """Error of an end: root mean square over the components, each in standard deviations of the ends."""
    return ((end - want) * found.weight).square().mean(-1).sqrt()


@torch.no_grad()
def judged(walk: nn.Module, sample: Sample, found: Data) -> dict[str, float]:
    """Over the starts: root mean square with errors capped, median, 90th percentile, and the share that blew up."""
    error = off(walk(sample.start, sample.args), sample.end, found)
    error = torch.where(torch.isfinite(error), error, torch.inf)
    ranked = error.sort().values
    n = len(ranked)
    return {
        "rms": float(error.clamp_max(CAP).square().mean().sqrt()), "median": float(ranked[n // 2].clamp_max(CAP)),
        "p90": float(ranked[min(n - 1, round(0.9 * n))].clamp_max(CAP)), "blown": float((error > CAP).double().mean()),
    }  # fmt: skip


@torch.no_grad()
def sizes(walk: Walk, sample: Sample, found: Data) -> dict[str, Any]:
    """Every step in units of the span, of the starts that did not blow up: mean, and relative deviation over the starts."""
    sol = walk.solve(sample.start, sample.args, save=Every(), throw=False)
    good = off(sol.x1[:, : found.n], sample.end, found) <= CAP
    if not bool(good.any()):
        return {"h": None, "h_spread": None}
    table = sol.hs[good].mean(2)
    spread = table.std(0, correction=0) / table.mean(0)
    return {"h": table.mean(0).tolist(), "h_spread": float(spread.square().mean().sqrt())}


def trained(kind: str, found: Data, steps: int, clock: bool, seeds: Sequence[int], budget: Budget) -> list[dict[str, Any]]:
    """For every seed the law whose rate did best on separate starts, judged on the held-out ones.

    All begin at the formula that does best, equal steps among them: from equal steps that blow up, descent finds little. Loss:
    mean log(1 + e^2), which is e^2 where the error is small and lets no runaway drown the rest. Every seed has its own training
    starts and its own batches, the same for all kinds. Adam, gradient of each lane clipped.
    """
    began = time.process_time()
    begin = [1.0] * steps if kind == "equal" else formulas(steps)[best_formula(found, steps)]
    rates = budget.rates[:1] if kind == "equal" else budget.rates
    nets = [built(kind, found, begin, clock, seed) for seed in seeds for _ in rates]
    if kind != "equal":
        _descend(nets, rates, found, seeds, budget)
    rows = []
    for i, seed in enumerate(seeds):
        mine = nets[i * len(rates) : (i + 1) * len(rates)]
        marks = [judged(net, found.choose, found)["rms"] for net in mine]
        k = marks.index(min(marks))
        count = sum(p.numel() for p in mine[k].parameters() if p.requires_grad)
        row = {"seed": seed, "rate": rates[k], "chosen_by": marks, "parameters": count}
        rows.append({**row, **judged(mine[k], found.test, found), **sizes(mine[k], found.test, found)})
    spent = (time.process_time() - began) / len(seeds)
    return [{**row, "cpu_seconds": spent} for row in rows]


def _descend(nets: Sequence[Walk], rates: Sequence[float], found: Data, seeds: Sequence[int], budget: Budget) -> None:
    """The training itself, in place: for every seed as many networks as rates."""
    weights, buffers = stack_module_state(nets)  # type: ignore[arg-type]
    free, base, count = list(weights.values()), nets[0], len(rates)
    samples = [found.train(seed) for seed in seeds]
    pool = Sample(*(torch.stack(part) for part in zip(*samples, strict=True)))  # (s, b, .)
    draws = [torch.Generator().manual_seed(seed) for seed in seeds]
    own = torch.tensor(rates, dtype=torch.float64, device="cpu").repeat(len(seeds))
    recipe, adam = Recipe(budget.iterations, budget.batch, lr=1.0), torch.optim.Adam(free, lr=1.0)

    def loss(p: dict[str, Tensor], b: dict[str, Tensor], some: Sample) -> Tensor:
        end = functional_call(base, (p, b), (some.start, some.args, BOUND))
        return off(end, some.end, found).square().log1p().mean()

    for i in range(budget.iterations):
        index = torch.stack([torch.randint(pool.start.shape[1], (budget.batch,), generator=g) for g in draws])
        some = Sample(*(v[torch.arange(len(seeds))[:, None], index].repeat_interleave(count, 0) for v in pool))
        adam.zero_grad()
        vmap(loss)(weights, buffers, some).sum().backward()
        clip_each(free)
        before = [p.detach().clone() for p in free]
        adam.step()
        with torch.no_grad():  # Adam's step is linear in the rate: each lane takes its own share of a step at rate 1
            for p, old in zip(free, before, strict=True):
                share = (own * recipe.rate(i)).reshape(-1, *(1,) * (p.dim() - 1))
                p.copy_(old + share * (p - old))
    with torch.no_grad():
        for k, net in enumerate(nets):
            for name, p in net.named_parameters():
                p.copy_(weights[name][k])


@lru_cache(maxsize=64)
def best_formula(found: Data, steps: int) -> str:
    """Its name: the one that does best on the starts to choose on."""
    marks = {
        name: judged(built("equal", found, hs, True, 0), found.choose, found)["rms"] for name, hs in formulas(steps).items()
    }
    return min(marks, key=lambda name: marks[name])


def written(found: Data, steps: int) -> dict[str, Any]:
    """The best formula, judged on the held-out starts."""
    name = best_formula(found, steps)
    walk = built("equal", found, formulas(steps)[name], True, 0)
    row = {"seed": None, "formula": name, "parameters": 0}
    return {**row, **judged(walk, found.test, found), **sizes(walk, found.test, found)}
