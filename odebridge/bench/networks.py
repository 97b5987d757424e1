"""Residual networks on the embedded digits: Euler steps of size 1, of a learned constant size, by SE and by StepNet."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from odebridge.bench.runner import Case, Outcome, Part, affordable
from odebridge.data import digits
from odebridge.metrics import profile
from odebridge.nets import resnet
from odebridge.train import fit

BUDGET = 36.0  # seconds for the whole part; about 27 on one core of the machine it was written on
CONTROLLERS = ("fixed", "constant", "se", "stepnet")  # "fixed": every step is 1, a plain residual network
EPOCHS, DEPTH, WIDTH, BATCH, LR = 8, 20, 8, 128, 0.1
SEEDS = 3


@dataclass(frozen=True)
class Settings:
    """What to train; the tests take less. Seeds are seed, seed + 1, ..."""

    seed: int = 0
    seeds: int = SEEDS
    controllers: Sequence[str] = CONTROLLERS
    epochs: int = EPOCHS
    depth: int = DEPTH
    width: int = WIDTH
    budget: float = BUDGET


def part(settings: Settings = Settings()) -> Part:
    """Every seed for every controller; seeds outermost, so that a budget that runs out takes the last seed from all alike."""
    data = cache(lambda: digits(settings.seed))  # one split for all: the spread is that of first weights and order

    def build(controller: str, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            gate = None if controller == "fixed" else controller
            images = data()
            return resnet(settings.depth, gate, images.channels, images.classes, settings.width)

    def train(controller: str, seed: int, epochs: int, budget: float | None) -> tuple[nn.Module, Any]:
        model = build(controller, seed)
        return model, fit(model, data(), epochs=epochs, batch_size=BATCH, lr=LR, device="cpu", seed=seed, time_budget=budget)

    def probe(controller: str) -> Callable[[], float]:
        return lambda: train(controller, settings.seed, 1, None)[1].seconds

    planned: list[int] = []  # found by the first case, the same for all

    def run(controller: str, seed: int, left: float) -> Outcome:
        if not planned:
            start = time.monotonic()
            train(settings.controllers[0], settings.seed, 1, None)  # the first training of a process is slow
            left -= time.monotonic() - start
            planned.append(affordable(settings.epochs, left, map(probe, settings.controllers), settings.seeds))
        model, history = train(controller, seed, planned[0], max(left - 0.5, 0.1))
        if history.ended == "not finite":
            return Outcome({"epochs": len(history.epochs)}, "failed", history.message)
        values = {
            "accuracy": history.test_accuracy[-1], "test_images": len(data().test_y), "train_loss": history.train_loss[-1],
            "train_seconds": history.seconds, "epochs": len(history.epochs),
            "parameters": sum(p.numel() for p in model.parameters()), **_profiled(model, data().test_x),
        }  # fmt: skip
        return Outcome(values, *shortened(len(history.epochs), settings.epochs, history.ended))

    cases = []
    for seed in range(settings.seed, settings.seed + settings.seeds):
        for controller in settings.controllers:
            configuration = {
                "model": "resnet", "controller": controller, "depth": settings.depth, "width": settings.width, "data": "digits",
                "split_seed": settings.seed, "epochs": settings.epochs, "batch_size": BATCH, "lr": LR, "optimiser": "sgd",
                "schedule": "onecycle", "weight_decay": 5e-4,
            }  # fmt: skip
            case = Case(
                f"resnet{settings.depth}, {controller}, seed {seed}", configuration, _bound(run, controller, seed), seed
            )
            cases.append(case)
    return Part("networks", settings.budget, cases)


def shortened(done: int, planned: int, ended: str) -> tuple[str, str]:
    """Status and message of a training: "ok", or how the time budget cut it."""
    if done >= planned and ended == "done":
        return "ok", ""
    cut = " and was stopped within the last of them" if ended != "done" else ""
    return "shortened", f"Trained for {done} of {planned} epochs to stay inside the part's time budget{cut}."


def _bound(run: Callable[[str, int, float], Outcome], controller: str, seed: int) -> Callable[[float], Outcome]:
    return lambda left: run(controller, seed, left)


def _profiled(model: nn.Module, images: Tensor) -> dict[str, Any]:
    """NSI and step sizes per block over the test images; spreads of a step over samples and over channels are kept apart."""
    seen = profile(model, images)
    low, middle, high = seen.nsi.double().quantile(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64), 0).tolist()
    values: dict[str, Any] = {"blocks": list(seen.names), "nsi_p10": low, "nsi_median": middle, "nsi_p90": high}
    rows = [_step(s) for s in seen.steps]
    values |= {f"step_{k}": [row[k] for row in rows] for k in ("mean", "p10", "p90", "sd_samples", "sd_channels")}
    return values


def _step(h: Tensor | None) -> dict[str, float]:
    """Statistics of the sizes of one step, (b,) or (b, C, 1, 1)."""
    if h is None:
        return dict.fromkeys(("mean", "p10", "p90", "sd_samples", "sd_channels"), math.nan)
    sizes = h.reshape(len(h), -1).double()
    low, high = sizes.flatten().quantile(torch.tensor([0.1, 0.9], dtype=torch.float64)).tolist()
    return {
        "mean": float(sizes.mean()),
        "p10": low,
        "p90": high,
        "sd_samples": float(sizes.std(0, correction=0).mean()),
        "sd_channels": float(sizes.mean(0).std(correction=0)),
    }
