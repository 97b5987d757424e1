"""Small residual networks that differ in their gates alone: one backbone and one order of the images for each seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from odebridge.bench.runner import Outcome
from odebridge.control.attention import Attention
from odebridge.core.names import lookup
from odebridge.data import IMAGES
from odebridge.data.base import Images
from odebridge.nets import resnet
from odebridge.nets.gates import Gates
from odebridge.train import History, fit

SUBSET = 10_000  # training images of Fashion-MNIST


@dataclass(frozen=True)
class Settings:
    """What to train, the same for every gate. Seeds are seed, seed + 1, ...; data: a name of `IMAGES`.

    train: training images, chosen by seed 0 whatever the seed; None: all. probes: test images that blocks are looked at with.
    """

    data: str = "fashion-mnist"
    train: int | None = SUBSET
    seed: int = 0
    seeds: int = 5
    depth: int = 20
    width: int = 16
    stem: int = 4
    epochs: int = 3
    batch_size: int = 128
    lr: float = 0.03
    probes: int = 256

    def about(self) -> dict[str, Any]:
        """What a row says of it: everything but which seeds there are."""
        recipe = {"model": "resnet", "style": "preact", "optimiser": "muon", "schedule": "onecycle", "augment": False}
        return {**recipe, **{k: v for k, v in vars(self).items() if k not in ("seed", "seeds")}}

    @property
    def every_seed(self) -> range:
        """The seeds."""
        return range(self.seed, self.seed + self.seeds)


def settings_for(data: str | None, quick: bool, seed: int = 0, seeds: int = 5) -> Settings:
    """Fashion-MNIST where it is installed, else the digits; quick: digits, two seeds, a network that trains in seconds.

    ValueError for an unknown name, FileNotFoundError where the data asked for are not there.
    """
    name = data or ("digits" if quick or not _installed("fashion-mnist") else "fashion-mnist")
    lookup("set of images", name, IMAGES)
    if quick:
        train, stem = (None, 1) if name == "digits" else (1000, 4)
        return Settings(name, train, seed, seeds=2, width=8, stem=stem, epochs=2, batch_size=64, probes=64)
    if name == "digits":
        return Settings(name, None, seed, seeds, stem=1, width=16, epochs=4, batch_size=64)
    images(name, SUBSET)  # not there: said before the first row
    return Settings(name, SUBSET, seed, seeds)


def _installed(name: str) -> bool:
    try:
        images(name, SUBSET)
    except FileNotFoundError:
        return False
    return True


@lru_cache(maxsize=2)
def images(data: str, train: int | None) -> Images:
    """The set; which images are kept to train with depends on nothing that varies."""
    return IMAGES[data]() if train is None else IMAGES[data](train=train)


class Whole(Attention):
    """a = 1: a block without attention among others that have it, its step as long as the spacing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def gate(self, x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        """Ones, (1, C, 1, ..., 1)."""
        return slope.new_ones((1, self.channels) + (1,) * (x.dim() - 2))


def build(settings: Settings, controller: str | Gates, seed: int) -> nn.Module:
    """The network, its backbone's first weights those of every other gate with this seed; "fixed": every step is 1.

    The plain network is drawn first and its weights put into the gated one: a gate draws numbers of its own in between.
    """
    found = images(settings.data, settings.train)

    def made(gate: str | Gates | None) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return resnet(settings.depth, gate, found.channels, found.classes, settings.width, stem=settings.stem)

    plain = made(None)
    if controller == "fixed":
        return plain
    net = made(controller)
    # By their order: a gate that remembers across a stage gives the same parts other names.
    names = [name for name in net.state_dict() if ".controller." not in name]
    net.load_state_dict(dict(zip(names, plain.state_dict().values(), strict=True)), strict=False)
    return net


def trained(settings: Settings, controller: str | Gates, seed: int, left: float | None = None) -> tuple[nn.Module, History]:
    """Built and trained by Muon; the order of the images depends on the seed alone. left: a time budget in seconds."""
    net = build(settings, controller, seed)
    history = fit(
        net, images(settings.data, settings.train), epochs=settings.epochs, batch_size=settings.batch_size, lr=settings.lr,
        optimiser="muon", schedule="onecycle", weight_decay=0.0, device="cpu", seed=seed, time_budget=left,
    )  # fmt: skip
    return net, history


def outcome(net: nn.Module, history: History, planned: int, more: Callable[[], dict[str, Any]]) -> Outcome:
    """The values that every suite of networks records, and `more`, measured where the training went well."""
    if history.ended not in ("done", "time budget"):
        return Outcome({"epochs": len(history.epochs)}, "failed", history.message)
    values = {
        "accuracy": history.test_accuracy[-1], "train_loss": history.train_loss[-1], "train_seconds": history.seconds,
        "epochs": len(history.epochs), "parameters": sum(p.numel() for p in net.parameters()), **more(),
    }  # fmt: skip
    if history.ended == "done":
        return Outcome(values)
    return Outcome(values, "shortened", f"Trained for {len(history.epochs)} of {planned} epochs: the time budget was used up.")
