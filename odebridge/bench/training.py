"""One training run as a run folder: record first, a row at the end, the weights beside it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from odebridge.bench.journal import Journal, board_found
from odebridge.bench.record import Row, RunFolder
from odebridge.bench.resume import STATE, saved, unfinished
from odebridge.control.attention.catalogue import ATTENTION
from odebridge.core.memory import out_of_memory
from odebridge.core.names import lookup
from odebridge.core.result import SolveError
from odebridge.data import DATA, IMAGES
from odebridge.data.base import Images
from odebridge.nets import imagenet_resnet, resnet, step_counts
from odebridge.nets.mode import evaluating
from odebridge.nets.resnet import STYLES
from odebridge.train import Epoch, History, Keep, fit, save_checkpoint
from odebridge.train.loop import checked
from odebridge.train.parallel import launched

COUNTED = 100  # test images by which adaptive steps are counted
SCHEME = ("method", "depth_weights", "steps", "rtol", "norm")
DEVICES = ("auto", "cpu", "cuda")
WEIGHTS, BEST, LAST_GOOD, SUITE = "model.json", "best.json", "last_good.json", "train"


@dataclass(frozen=True)
class Training:
    """What to train, by names. controller "fixed": every step is 1."""

    model: str = "resnet"
    controller: str = "fixed"
    data: str = "digits"
    epochs: int = 10
    depth: int = 20
    width: int = 16
    batch_size: int = 128
    lr: float = 0.1
    optimiser: str = "sgd"
    schedule: str = "onecycle"
    weight_decay: float = 5e-4
    precision: str = "fp32"
    style: str = "preact"
    stem: int = 1  # stride of the first convolution
    augment: bool = False
    crop: int | None = None  # pixels of the pieces that augmented images are cut to
    label_smoothing: float = 0.0
    mixup: float = 0.0
    ema: float | None = None
    clip: float | None = None
    accumulate: int = 1
    channels_last: bool = False
    compile: bool = False
    method: str = "euler"  # of the steps within a stage
    depth_weights: str = "layers"
    steps: int | None = None  # of a stage; None: one a block
    rtol: float | None = None  # adaptive steps
    norm: str | None = None


# "quick": minutes on a CPU. "standard": the better part of an hour. "paper": the recipe of the group of the paper's authors for
# CIFAR (164 epochs of a bottleneck network with 164 layers), and what differs for other data; it wants a GPU.
PRESETS: dict[str, dict[str, Any]] = {
    "quick": dict(
        controller="se", data="fashion-mnist", epochs=5, batch_size=64, lr=0.03, optimiser="muon", weight_decay=0.0, stem=2,
        precision="bf16",
    ),
    "standard": dict(
        controller="se", data="fashion-mnist", epochs=15, batch_size=64, lr=0.03, optimiser="muon", weight_decay=0.0, stem=2,
        precision="bf16", augment=True, label_smoothing=0.1, ema=0.999,
    ),
    "paper": dict(
        data="cifar-100", depth=164, epochs=164, batch_size=128, lr=0.1, schedule="steps", weight_decay=1e-4, style="paper",
        augment=True,
    ),
}  # fmt: skip
PAPER: dict[str, dict[str, Any]] = {
    "stl-10": dict(batch_size=16, crop=32),  # pieces of 32 pixels of images of 96, which are tested whole
    "imagenet": dict(depth=50, epochs=100, batch_size=256, schedule="thirds"),  # 8 processes with 32 each, where there are 8
}


def preset(name: str, data: str | None) -> dict[str, Any]:
    """The settings of a preset for these data, or for its own; ValueError with the nearest for an unknown name."""
    settings = lookup("preset", name, PRESETS)
    return {**settings, **(PAPER.get(data or "", {}) if name == "paper" else {})}


def _network(plan: Training, images: Images) -> nn.Module:
    """The network of the plan; for ImageNet the one that is made for large images."""
    gate, scheme = None if plan.controller == "fixed" else plan.controller, {k: getattr(plan, k) for k in SCHEME}
    if plan.data == "imagenet":
        if any(v != getattr(Training(), k) for k, v in scheme.items() if k != "method"):
            raise ValueError("depth_weights: networks for ImageNet have layers; leave --depth-weights, --steps and --rtol out.")
        return imagenet_resnet(plan.depth, gate, images.channels, images.classes, plan.style, plan.method)
    return resnet(plan.depth, gate, images.channels, images.classes, plan.width, plan.style, stem=plan.stem, **scheme)


TRAINABLE = {"resnet": _network}


def train(
    plan: Training, out: str | Path, *, seed: int, device: str, progress: Callable[[Epoch], None], resume: Path | None = None,
    every: float = 20.0, tensorboard: bool = False,
) -> tuple[Path | None, History]:  # fmt: skip
    """Train as the plan says; writes OUT/<id>/run.json, metrics.jsonl, results.jsonl, model.json and best.json.

    The last two hold the last weights and those of the best epoch; the tensors lie beside them. The state to go on from is
    written every so many seconds. resume: the folder of a run that was stopped, with the plan and the seed that `plan_of` reads
    from it; on the CPU its end is that of a run that was not stopped, to the bit, and where no state was saved yet the run
    begins again. tensorboard: the epochs for TensorBoard as well. In processes started by torchrun the first one writes, and
    the others return no folder. ValueError for an unknown name or a setting that makes no sense, FileNotFoundError for missing
    data, before anything is written. A loss that is not finite leaves a failed row, and last_good.json with the weights of the
    last epoch that was finished in place of model.json; `History.message` says so.
    """
    lookup("trainable model", plan.model, TRAINABLE)
    lookup("data set", plan.data, DATA)
    if plan.data not in IMAGES:
        raise ValueError(f"data: {plan.data!r} holds no images, {plan.model} trains on {' or '.join(IMAGES)}.")
    lookup("controller for networks", plan.controller, {"fixed": None, **ATTENTION})
    lookup("network style", plan.style, STYLES)
    place = _place(device)
    if tensorboard:
        board_found()
    images = IMAGES[plan.data]()
    of_the_net = ("model", "controller", "data", "depth", "width", "style", "stem", *SCHEME)
    settings = {k: v for k, v in asdict(plan).items() if k not in of_the_net}
    checked(len(images.train_x), **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = TRAINABLE[plan.model](plan, images)
        _tried(net, images)
    command = f"odebridge train {plan.model} {' '.join(_typed(plan))} --seed {seed}"
    with launched(place) as (world, place):
        if world.rank > 0:
            keep = Keep(resume / STATE, True) if resume is not None and saved(resume) else None
            return None, fit(net, images, device=place, seed=seed, keep=keep, **settings)
        if resume is None:
            settings_kept = {**asdict(plan), "seed": seed}
            options = {k: v for k, v in settings_kept.items() if k != "model"}  # which is a command of its own
            folder = RunFolder(out, SUITE, settings_kept, command, options)
        else:
            folder = RunFolder.reopened(resume, SUITE)
        began, journal = time.monotonic(), Journal(folder.path, board=tensorboard)

        def tell(epoch: Epoch) -> None:
            journal(epoch)
            progress(epoch)

        keep = Keep(folder.path / STATE, saved(resume), every, folder.path / BEST)
        history = fit(net, images, device=place, seed=seed, progress=tell, keep=keep, **settings)
    good = history.ended == "done"
    values: dict[str, Any] = {
        "accuracy": list(history.test_accuracy),
        "train_loss": list(history.train_loss),
        "train_seconds": history.seconds,
    }
    status, message = ("ok", "") if good else ("failed", history.message)
    if good and plan.rtol is not None:
        counts = step_counts(net, images.test_x[:COUNTED].to(place))
        values["f_evals"] = {name: float(stats.f_evals.double().mean()) for name, stats in counts.items()}
        values["rejected"] = {name: float(stats.rejected.double().mean()) for name, stats in counts.items()}
    if good:  # before the row, which says that the run has ended
        save_checkpoint(folder.path / WEIGHTS, net.state_dict(), {**asdict(plan), "seed": seed, **values})
    elif history.epochs:
        keep_last_good(folder.path, net, history)
    took, n = time.monotonic() - began, torch.get_num_threads()
    folder.append(Row(SUITE, asdict(plan), values, status, message, seed, took, place, n))
    return folder.path, history


def _tried(net: nn.Module, images: Images) -> None:
    """What a forward pass refuses is told before anything is written; a solve that fails is an outcome of training."""
    try:
        with evaluating(net), contextlib.suppress(SolveError):
            net(images.train_x[:2])
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        size = "x".join(map(str, images.train_x.shape[2:]))
        raise ValueError(f"The network does not take images of {size} pixels ({error}); try a smaller --stem.") from error


def keep_last_good(folder: Path, model: nn.Module, history: History) -> None:
    """The weights of a training that failed, as they were after the last epoch that was finished."""
    save_checkpoint(folder / LAST_GOOD, model.state_dict(), {"epoch": len(history.epochs), "ended": history.message})


def _typed(plan: Training) -> list[str]:
    """The options that make this plan, those at their defaults left out but the first."""
    plain, said = Training(), []
    for k, v in asdict(plan).items():
        name = f"--{k.replace('_', '-')}"
        if k == "model" or (v == getattr(plain, k) and k not in ("controller", "data", "epochs", "depth")):
            continue
        said.append(name if v is True else f"{name} {v}")
    return said


def plan_of(folder: Path) -> tuple[Training, int]:
    """The settings and the seed of a run folder that was stopped; see `unfinished`."""
    return unfinished(folder, SUITE, "a residual network", Training)


def _place(device: str) -> str:
    """The device in PyTorch's words, or a ValueError if there is none such."""
    kind, _, index = device.partition(":")
    lookup("device", kind, dict.fromkeys(DEVICES))
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cpu" and device != "cpu":
        raise ValueError(f"device: there is one 'cpu', without a number; got {device!r}.")
    found = torch.cuda.device_count()
    if kind == "cuda" and not ((index or "0").isdigit() and int(index or 0) < found):
        raise ValueError(f"device: {device!r} is not there, PyTorch sees {found} CUDA devices; write 'cpu' or 'auto'.")
    return device
