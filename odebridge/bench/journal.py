"""The epochs of a training as they come: a line of JSON each, and TensorBoard where it is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from odebridge.bench.record import finite
from odebridge.core.files import parsed, write_atomic
from odebridge.core.optional import optional
from odebridge.train import Epoch

METRICS, BOARD = "metrics.jsonl", "tensorboard"


def board_found() -> Any:
    """PyTorch's writer for TensorBoard; ValueError in a sentence where TensorBoard is not installed."""
    found = optional("torch.utils.tensorboard")
    if found is None:
        raise ValueError("tensorboard: TensorBoard is not installed; pip install 'odebridge[track]'.")
    return found.SummaryWriter


class Journal:
    """Called with every epoch: writes FOLDER/metrics.jsonl and, with `board`, FOLDER/tensorboard.

    A line is {"epoch", "train_loss", the name of the score, "seconds"}; null stands for a number that is not finite. The
    epochs that a killed run had written and a resumed one makes again are replaced, and damaged lines are left out.
    Use: `fit(..., progress=Journal(folder))`.
    """

    def __init__(self, folder: Path, score: str = "accuracy", *, board: bool = False) -> None:
        self.path, self.score, self.board = folder / METRICS, score, folder / BOARD if board else None
        self.writer: Any = None

    def __call__(self, epoch: Epoch) -> None:
        """One epoch more."""
        n, loss, score, seconds = epoch
        row, _ = finite({"epoch": n, "train_loss": loss, self.score: score, "seconds": seconds})
        text = "".join(f"{line}\n" for line in (*_before(self.path, n), json.dumps(row)))
        write_atomic(self.path, text.encode())
        if self.board is None:
            return
        if self.writer is None:  # what a killed run has written beyond this epoch is taken back
            self.writer = board_found()(str(self.board), purge_step=n)
        self.writer.add_scalar("train/loss", loss, n)
        self.writer.add_scalar(f"test/{self.score}", score, n)
        self.writer.flush()


def _before(path: Path, n: int) -> list[str]:
    """The whole lines of the epochs before n."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line for line in lines if 1 <= _epoch(line) < n]


def _epoch(line: str) -> int:
    """The number of the epoch; 0 for a line that says none."""
    try:
        row = parsed(line)
    except ValueError:
        return 0
    number = row.get("epoch") if isinstance(row, dict) else None
    return number if isinstance(number, int) else 0
