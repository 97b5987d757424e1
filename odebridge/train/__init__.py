"""Training: one readable loop, and checkpoints that survive a crash."""

from __future__ import annotations

from odebridge.train.checkpoint import load_checkpoint, save_checkpoint
from odebridge.train.loop import evaluate, fit, fit_loss
from odebridge.train.plan import Epoch, History
from odebridge.train.recipes import RECIPES, Recipe, list_variants
from odebridge.train.state import Keep
from odebridge.train.task import Metric, Task, fit_task

__all__ = [
    "RECIPES", "Epoch", "History", "Keep", "Metric", "Recipe", "Task", "evaluate", "fit", "fit_loss", "fit_task",
    "list_variants", "load_checkpoint", "save_checkpoint",
]  # fmt: skip
