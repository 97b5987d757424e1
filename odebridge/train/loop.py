"""One training loop for classification and regression, on the CPU or one GPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from jaxtyping import Float, Int
from scipy.special import betaincinv
from torch import Tensor, nn
from torch.nn import functional

from odebridge.data.base import Images
from odebridge.nets.mode import evaluating
from odebridge.train.descent import descend
from odebridge.train.parallel import world
from odebridge.train.plan import Epoch, History, Plan
from odebridge.train.state import Keep


def fit(
    model: nn.Module,
    data: Images,
    *,
    epochs: int = 10,
    batch_size: int = 128,
    lr: float = 0.1,
    optimiser: str = "sgd",
    weight_decay: float = 5e-4,
    schedule: str = "onecycle",
    device: str = "auto",
    seed: int = 0,
    augment: bool = False,
    crop: int | None = None,
    precision: str = "fp32",
    channels_last: bool = False,
    compile: bool = False,
    accumulate: int = 1,
    clip: float | None = None,
    ema: float | None = None,
    label_smoothing: float = 0.0,
    mixup: float = 0.0,
    progress: Callable[[Epoch], None] | None = None,
    time_budget: float | None = None,
    keep: Keep | None = None,
) -> History:
    """Train a classifier in place by cross-entropy; it stays on the device.

    optimiser: "sgd" (momentum 0.9) | "adamw" | "muon". schedule: "onecycle" | "cosine" | "steps" | "none"; lr is the highest
    rate. device: "auto" is cuda where there is one. augment: random shifts by an eighth of the image and, where the data
    allow, mirroring; with crop, pieces of so many pixels from anywhere. mixup: alpha of the Beta law by which pairs of images
    are mixed, 0: none; label_smoothing as in PyTorch.
    precision: "fp32" | "bf16" | "fp16" (with a scaled loss), of the model's own work. channels_last: its memory format.
    compile: torch.compile. accumulate: a batch goes through in so many parts. clip: largest norm of the gradient. ema: decay of
    an average of the weights, which is tested after every epoch and is what the model has in the end.
    progress is called after each epoch. time_budget: seconds, tests included; training stops after the step that exceeds
    it. keep: a `Keep`, to go on after a kill. In processes that torchrun has started and `train.parallel.launched` has joined,
    each takes batch_size samples of a step, and gradients are averaged.
    The seed fixes the order of the images and the augmentation; the first weights are the model's own. A loss that is not
    finite ends the training with `ended="not finite"` and a message, not an exception; the model then has the weights that were
    tested last. ValueError for settings without sense.
    Caveat: a last batch of less than batch_size is left out of each epoch, since BatchNorm suffers from small ones.
    Use: `history = fit(resnet(20, "stepnet", in_channels=1), digits(), epochs=5)`.
    """
    place = _device(device)
    x, y = data.train_x.to(place), data.train_y.to(place)
    test_x, test_y = data.test_x.to(place), data.test_y.to(place)
    chance, processes = torch.Generator().manual_seed(seed), world()
    if crop is not None and not (augment and 8 <= crop <= min(data.train_x.shape[2:])):
        raise ValueError(f"crop: needs augment=True and from 8 to {min(data.train_x.shape[2:])} pixels, got {crop!r}.")
    plan = checked(
        len(x), epochs=epochs, batch_size=batch_size, lr=lr, optimiser=optimiser, weight_decay=weight_decay, schedule=schedule,
        time_budget=time_budget, precision=precision, clip=clip, accumulate=accumulate, ema=ema, mixup=mixup,
        label_smoothing=label_smoothing, processes=processes.size,
    )  # fmt: skip
    form = torch.channels_last if channels_last else torch.contiguous_format
    model.to(place, memory_format=form)  # type: ignore[call-overload]
    run = processes.shared(model)
    run = torch.compile(run) if compile else run

    def loss(pick: Tensor) -> Tensor:
        images = _augmented(x[pick], data.mirror, chance, crop) if augment else x[pick]
        share, other = _mixed(len(pick), mixup, chance)
        if other is not None:
            images = share * images + (1.0 - share) * images[other.to(place)]
        with plan.autocast(place):
            logits = run(images.contiguous(memory_format=form)).float()
        found = functional.cross_entropy(logits, y[pick], label_smoothing=label_smoothing)
        if other is None:
            return found
        return share * found + (1.0 - share) * functional.cross_entropy(
            logits, y[pick][other.to(place)], label_smoothing=label_smoothing
        )

    def score() -> float:
        with plan.autocast(place):
            return evaluate(model, test_x, test_y)

    return descend(
        model, loss, score, plan, chance, place, progress if processes.rank == 0 else None, regression=False, keep=keep,
        world=processes,
    )  # fmt: skip


def checked(n: int, *, label_smoothing: float = 0.0, mixup: float = 0.0, **settings: Any) -> Plan:
    """The plan that `fit` follows on n images, of its settings; ValueError in a sentence for those without sense."""
    if not 0.0 <= label_smoothing < 1.0 or not 0.0 <= mixup < math.inf:
        raise ValueError(
            f"label_smoothing must be in [0, 1) and mixup a finite number of at least 0, got {label_smoothing!r} and {mixup!r}."
        )
    mine = {f.name for f in fields(Plan)}
    return Plan(**{"n": n, "time_budget": None, **{k: v for k, v in settings.items() if k in mine}})


def fit_loss(
    model: nn.Module,
    inputs: Float[Tensor, "n *s"],
    targets: Float[Tensor, "n *r"],
    *,
    test: tuple[Tensor, Tensor] | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] = functional.mse_loss,
    epochs: int = 200,
    batch_size: int | None = None,
    lr: float = 1e-3,
    optimiser: str = "adamw",
    weight_decay: float = 0.0,
    schedule: str = "cosine",
    device: str = "auto",
    seed: int = 0,
    progress: Callable[[Epoch], None] | None = None,
    time_budget: float | None = None,
    keep: Keep | None = None,
) -> History:
    """Train a map in place so that loss(model(inputs), targets) falls; a flow map from pairs of states, for instance.

    batch_size None: all pairs in every step. test: a pair (inputs, targets) judged after each epoch. The other settings and the
    outcome are those of `fit`; adamw without weight decay is Adam.
    Use: `fit_loss(flow_map(3, blocks=8), x0, x1, test=(y0, y1), epochs=500)`.
    """
    if len(inputs) != len(targets):
        raise ValueError(f"fit_loss: {len(inputs)} inputs and {len(targets)} targets do not make pairs.")
    place = _device(device)
    x, y = inputs.to(place), targets.to(place)

    def step_loss(pick: Tensor) -> Tensor:
        return loss(model(x[pick]), y[pick])

    def score() -> float:
        if test is None:
            return math.nan
        with evaluating(model):
            return float(loss(model(test[0].to(place)), test[1].to(place)))

    plan = Plan(len(x), epochs, batch_size or len(x), lr, optimiser, weight_decay, schedule, time_budget)
    chance = torch.Generator().manual_seed(seed)
    return descend(model.to(place), step_loss, score, plan, chance, place, progress, regression=True, keep=keep)


def evaluate(model: nn.Module, x: Float[Tensor, "n *s"], y: Int[Tensor, " n"], batch_size: int = 500) -> float:
    """Share of samples whose largest logit is that of the label, in eval mode; the model's mode is restored.

    x (n, C, H, W) and y (n,) on the model's device. Use: `evaluate(model, data.test_x, data.test_y)`.
    """
    with evaluating(model):
        pairs = zip(x.split(batch_size), y.split(batch_size), strict=True)
        right = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in pairs)
    return right / len(y)


def _mixed(n: int, alpha: float, chance: torch.Generator) -> tuple[float, Tensor | None]:
    """The share of each image itself, Beta(alpha, alpha), and which other one is mixed in (Zhang et al., ICLR 2018)."""
    if alpha == 0.0:
        return 1.0, None
    share = float(betaincinv(alpha, alpha, float(torch.rand((), generator=chance, dtype=torch.float64))))
    return share, torch.randperm(n, generator=chance)


def _device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _augmented(
    x: Float[Tensor, "b c h w"], mirror: bool, chance: torch.Generator, crop: int | None = None
) -> Float[Tensor, "b c k l"]:
    """Every image shifted by up to an eighth of its height, edges filled with 0, and mirrored by the toss of a coin.

    crop: of each a piece of crop x crop pixels from anywhere, an eighth of that beyond the edges included.
    """
    b, _, height, width = x.shape
    tall, wide = (height, width) if crop is None else (crop, crop)
    reach = tall // 8
    rows = torch.randint(height + 2 * reach - tall + 1, (b, 1), generator=chance) + torch.arange(tall)
    columns = torch.randint(width + 2 * reach - wide + 1, (b, 1), generator=chance) + torch.arange(wide)
    if mirror:
        columns = torch.where(torch.rand(b, 1, generator=chance) < 0.5, columns.flip(1), columns)
    padded = functional.pad(x, (reach,) * 4)
    image = torch.arange(b, device=x.device)[:, None, None]
    shifted = padded[image, :, rows.to(x.device)[:, :, None], columns.to(x.device)[:, None, :]]  # (b, h, w, c)
    return shifted.movedim(3, 1).contiguous()
