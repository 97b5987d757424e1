"""One training loop for classification and regression, on the CPU or one GPU."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from odebridge.core.names import lookup
from odebridge.data.base import Images
from odebridge.nets.mode import evaluating

CHECK_EVERY = 16  # steps between looks at the loss: reading it waits for the GPU


def _sgd(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr, momentum=0.9, weight_decay=weight_decay)


def _adamw(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr, weight_decay=weight_decay)


def _constant(_done: float) -> float:
    return 1.0


def _cosine(done: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * done))


def _onecycle(done: float) -> float:
    """A linear rise from 1/25 over the first 30 per cent, then half a cosine to 0."""
    return 0.04 + 0.96 * done / 0.3 if done < 0.3 else _cosine((done - 0.3) / 0.7)


OPTIMISERS = {"sgd": _sgd, "adamw": _adamw}
SCHEDULES = {"none": _constant, "cosine": _cosine, "onecycle": _onecycle}  # part done, 0 to 1 -> factor on lr


class Epoch(NamedTuple):
    """What `progress` is shown after each epoch."""

    number: int  # from 1
    train_loss: float  # mean over the steps of the epoch
    test_score: float  # accuracy of `fit`, loss of `fit_loss`; NaN without test data
    seconds: float  # since the start


@dataclass(frozen=True)
class History:
    """One row per epoch. ended: "done", "time budget" or "not finite"; message says it in a sentence."""

    epochs: tuple[Epoch, ...]
    ended: str
    message: str
    seconds: float
    regression: bool = False

    @property
    def train_loss(self) -> tuple[float, ...]:
        """Mean training loss of every epoch."""
        return tuple(e.train_loss for e in self.epochs)

    @property
    def test_accuracy(self) -> tuple[float, ...]:
        """Accuracy on the test images after every epoch; empty for a regression."""
        return () if self.regression else tuple(e.test_score for e in self.epochs)

    @property
    def test_loss(self) -> tuple[float, ...]:
        """Loss on the test pairs after every epoch; empty for a classification."""
        return tuple(e.test_score for e in self.epochs) if self.regression else ()


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
    progress: Callable[[Epoch], None] | None = None,
    time_budget: float | None = None,
) -> History:
    """Train a classifier in place by cross-entropy; it stays on the device.

    optimiser: "sgd" (momentum 0.9) | "adamw". schedule: "onecycle" | "cosine" | "none", lr is the highest rate. device: "auto"
    is cuda where there is one. augment: random shifts by an eighth of the image and, where the data allow, mirroring. progress
    is called after each epoch. time_budget: seconds, tests included; training stops after the step that exceeds it.
    The seed fixes the order of the images and the augmentation; the first weights are the model's own. A loss that is not
    finite ends the training with `ended="not finite"` and a message, not an exception. ValueError for settings without sense.
    Caveat: a last batch of less than batch_size is left out of each epoch, since BatchNorm suffers from small ones.
    Use: `history = fit(resnet(20, "stepnet", in_channels=1), digits(), epochs=5)`.
    """
    place = _device(device)
    x, y = data.train_x.to(place), data.train_y.to(place)
    test_x, test_y = data.test_x.to(place), data.test_y.to(place)
    chance = torch.Generator().manual_seed(seed)

    def loss(pick: Tensor) -> Tensor:
        images = _augmented(x[pick], data.mirror, chance) if augment else x[pick]
        return functional.cross_entropy(model(images), y[pick])

    def score() -> float:
        return evaluate(model, test_x, test_y)

    plan = _Plan(len(x), epochs, batch_size, lr, optimiser, weight_decay, schedule, time_budget)
    return _descend(model.to(place), loss, score, plan, chance, place, progress, regression=False)


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

    plan = _Plan(len(x), epochs, batch_size or len(x), lr, optimiser, weight_decay, schedule, time_budget)
    chance = torch.Generator().manual_seed(seed)
    return _descend(model.to(place), step_loss, score, plan, chance, place, progress, regression=True)


def evaluate(model: nn.Module, x: Float[Tensor, "n *s"], y: Int[Tensor, " n"], batch_size: int = 500) -> float:
    """Share of samples whose largest logit is that of the label, in eval mode; the model's mode is restored.

    x (n, C, H, W) and y (n,) on the model's device. Use: `evaluate(model, data.test_x, data.test_y)`.
    """
    with evaluating(model):
        pairs = zip(x.split(batch_size), y.split(batch_size), strict=True)
        right = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in pairs)
    return right / len(y)


@dataclass(frozen=True)
class _Plan:
    n: int
    epochs: int
    batch_size: int
    lr: float
    optimiser: str
    weight_decay: float
    schedule: str
    time_budget: float | None

    def __post_init__(self) -> None:
        lookup("optimiser", self.optimiser, OPTIMISERS)
        lookup("schedule", self.schedule, SCHEDULES)
        if self.n < 1 or self.epochs < 1 or self.batch_size < 1:
            raise ValueError(f"training needs samples, epochs and a batch size of at least 1: {self}.")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise ValueError(f"lr must be a positive number, got {self.lr!r}.")

    @property
    def steps(self) -> int:
        """Steps per epoch; a short last batch is dropped unless it is the only one."""
        return max(1, self.n // self.batch_size)


def _descend(
    model: nn.Module,
    loss: Callable[[Tensor], Tensor],
    score: Callable[[], float],
    plan: _Plan,
    chance: torch.Generator,
    place: torch.device,
    progress: Callable[[Epoch], None] | None,
    regression: bool,
) -> History:
    """The loop. loss: indices of a batch -> scalar; score: after each epoch."""
    start = time.monotonic()
    descent = OPTIMISERS[plan.optimiser](model, plan.lr, plan.weight_decay)
    rate = SCHEDULES[plan.schedule]
    rows: list[Epoch] = []

    def history(ended: str, message: str) -> History:
        return History(tuple(rows), ended, message, time.monotonic() - start, regression)

    for epoch in range(plan.epochs):
        model.train()
        order = torch.randperm(plan.n, generator=chance).to(place)
        total = torch.zeros((), device=place)
        for step in range(plan.steps):
            done = (epoch + step / plan.steps) / plan.epochs
            for group in descent.param_groups:
                group["lr"] = plan.lr * rate(done)
            value = loss(order[step * plan.batch_size : (step + 1) * plan.batch_size])
            descent.zero_grad(set_to_none=True)
            value.backward()
            descent.step()
            total += value.detach()
            last = step + 1 == plan.steps
            # A sum that is not finite stays so: nothing is missed between two looks.
            if (last or step % CHECK_EVERY == 0) and not math.isfinite(float(total)):
                where = f"epoch {epoch + 1}, at or before step {step + 1} of {plan.steps}"
                return history("not finite", f"The loss is not finite in {where}: lower lr={plan.lr:g} or check the data.")
            late = plan.time_budget is not None and time.monotonic() - start > plan.time_budget
            if last or late:
                rows.append(Epoch(epoch + 1, float(total) / (step + 1), score(), time.monotonic() - start))
                if progress is not None:
                    progress(rows[-1])
            if late:
                return history("time budget", f"Stopped in epoch {epoch + 1}, step {step + 1}, after {plan.time_budget:g} s.")
    return history("done", f"All {plan.epochs} epochs done.")


def _device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _augmented(x: Float[Tensor, "b c h w"], mirror: bool, chance: torch.Generator) -> Float[Tensor, "b c h w"]:
    """Every image shifted by up to an eighth of its height, edges filled with 0, and mirrored by the toss of a coin."""
    b, _, height, width = x.shape
    reach = height // 8
    rows = torch.randint(2 * reach + 1, (b, 1), generator=chance) + torch.arange(height)
    columns = torch.randint(2 * reach + 1, (b, 1), generator=chance) + torch.arange(width)
    if mirror:
        columns = torch.where(torch.rand(b, 1, generator=chance) < 0.5, columns.flip(1), columns)
    padded = functional.pad(x, (reach,) * 4)
    image = torch.arange(b, device=x.device)[:, None, None]
    shifted = padded[image, :, rows.to(x.device)[:, :, None], columns.to(x.device)[:, None, :]]  # (b, h, w, c)
    return shifted.movedim(3, 1).contiguous()
