"""What a recipe hands to the loop: a model with everything that is needed to train, judge and draw it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from odebridge.train.descent import descend
from odebridge.train.plan import Epoch, History, Plan
from odebridge.train.state import Keep


@dataclass(frozen=True)
class Metric:
    """What `Task.score` measures. unit: "%", "" for a pure number ...; high: is more better?"""

    name: str
    unit: str = ""
    high: bool = False

    def told(self, value: float) -> str:
        """The value in words: "accuracy 99.8 %"."""
        return f"{self.name} {value:.4g}{' ' * bool(self.unit)}{self.unit}"


@dataclass(frozen=True)
class Task:
    """A model to train on n samples.

    loss: indices of a batch (int64) -> scalar, regularisers included, with a graph. score: the metric on the test data.
    evaluations: f evaluations a sample in one pass over test data, such as {"forward": 32.0}; it may add others ("backward").
    picture: draws the result on an empty figure. generators: those that loss draws from; the loop keeps their states, so that a
    resumed run is the same to the bit (PyTorch's global one is kept anyway). extras: further figures on the test data, by name.
    """

    model: nn.Module
    n: int
    loss: Callable[[Tensor], Tensor]
    score: Callable[[], float]
    metric: Metric
    evaluations: Callable[[], Mapping[str, float]]
    picture: Callable[[Figure], None]
    generators: tuple[torch.Generator, ...] = ()
    extras: Callable[[], Mapping[str, float]] = dict

    @property
    def parameters(self) -> int:
        """Number of numbers that are trained."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)


def fit_task(
    task: Task,
    *,
    epochs: int,
    batch_size: int = 128,
    lr: float = 1e-2,
    optimiser: str = "adamw",
    weight_decay: float = 0.0,
    schedule: str = "onecycle",
    seed: int = 0,
    progress: Callable[[Epoch], None] | None = None,
    time_budget: float | None = None,
    keep: Keep | None = None,
) -> History:
    """Train the model of a task in place, on the CPU; settings and outcome as for `fit_loss`.

    The seed fixes the order of the samples and what a model draws while it is trained, whatever was drawn before; weights and
    data are the task's own. adamw without weight decay is Adam.
    Use: `task = RECIPES["node"].task(seed=0); fit_task(task, epochs=10)`.
    """
    plan = Plan(task.n, epochs, batch_size, lr, optimiser, weight_decay, schedule, time_budget)
    chance, place = torch.Generator().manual_seed(seed), torch.device("cpu")
    with torch.random.fork_rng(devices=[]):  # the noise of a latent ODE comes from the generator of the process
        torch.manual_seed(seed)
        return descend(
            task.model, task.loss, task.score, plan, chance, place, progress, regression=not task.metric.high, keep=keep,
            generators=task.generators,
        )  # fmt: skip
