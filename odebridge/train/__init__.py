"""Training: one readable loop, and checkpoints that survive a crash."""

from __future__ import annotations

from odebridge.train.checkpoint import load_checkpoint, save_checkpoint
from odebridge.train.loop import Epoch, History, evaluate, fit, fit_loss

__all__ = ["Epoch", "History", "evaluate", "fit", "fit_loss", "load_checkpoint", "save_checkpoint"]
