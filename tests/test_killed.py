"""Trainings that are killed: at a random moment, and before anything was saved."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from odebridge.bench import node_training, training
from odebridge.bench.journal import METRICS, Journal
from odebridge.bench.node_training import NodeTraining
from odebridge.cli import app
from odebridge.data import digits
from odebridge.nets import resnet
from odebridge.train import RECIPES, Epoch, evaluate, load_checkpoint
from odebridge.train.checkpoint import save_checkpoint

PLAN = training.Training("resnet", "se", "digits", 6, 8, 4, 64, ema=0.9, augment=True)
SCRIPT = """
import sys
from pathlib import Path
from odebridge.bench import training
from test_killed import PLAN
out, resume = Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None
plan, seed = (PLAN, 5) if resume is None else training.plan_of(resume)
training.train(plan, out, seed=seed, device="cpu", progress=print, resume=resume, every=0.0)
"""
HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{HERE.parent}:{HERE}"}


def told(folder: Path) -> list[tuple[int, float, float]]:
    """What metrics.jsonl says of every epoch, the clock left out."""
    rows = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    return [(r["epoch"], r["train_loss"], r["accuracy"]) for r in rows]


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    whole, _ = training.train(PLAN, tmp_path / "whole", seed=5, device="cpu", progress=lambda _: None)
    assert whole is not None
    began = time.monotonic()
    training.train(PLAN, tmp_path / "clock", seed=5, device="cpu", progress=lambda _: None, every=0.0)
    length, out, kills = time.monotonic() - began, tmp_path / "killed", 0
    moment = random.Random()
    for _ in range(20):
        folders = [str(f) for f in out.iterdir()] if out.exists() else []
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(out), *folders], env=ENVIRONMENT, stdout=subprocess.DEVNULL
        )
        if kills < 3:
            while process.poll() is None and not (out.exists() and any(out.glob("*/run.json"))):
                time.sleep(0.02)
            # From the second on the folder is there before the process is, so the moments may also lie in its start.
            end = time.monotonic() + moment.uniform(0.0, 0.7 * length + (4.0 if kills else 0.0))
            while process.poll() is None and time.monotonic() < end:
                time.sleep(0.01)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
        if process.wait(120) == 0:
            break
    (folder,) = out.iterdir()
    assert kills > 0
    rows = [json.loads((f / "results.jsonl").read_text()) for f in (whole, folder)]
    for key in ("accuracy", "train_loss"):
        assert rows[0]["values"][key] == rows[1]["values"][key], (key, kills)
    assert told(whole) == told(folder)
    for name in ("model.json", "best.json"):
        one, other = (load_checkpoint(f / name)[0] for f in (whole, folder))
        assert one.keys() == other.keys()
        assert all(torch.equal(v, other[k]) for k, v in one.items()), name


def stopped(epoch: Epoch) -> None:
    raise KeyboardInterrupt


def resumed(*words: str) -> str:
    done = CliRunner().invoke(app, ["train", *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_residual_network_killed_before_its_first_save_begins_again(tmp_path: Path) -> None:
    plan = training.Training("resnet", "fixed", "digits", 2, 8, 4)
    with pytest.raises(KeyboardInterrupt):
        training.train(plan, tmp_path / "killed", seed=1, device="cpu", progress=stopped)
    (killed,) = (tmp_path / "killed").iterdir()
    assert not (killed / "training.json").exists()
    (killed / "results.jsonl").write_text('{"schema": 1, "sui')  # killed in the middle of its row: not the end of the run
    text = resumed("resnet", "--resume", str(killed), "--device", "cpu")
    assert "it begins again" in text
    assert "epoch 1 of 2" in text
    whole, history = training.train(plan, tmp_path / "whole", seed=1, device="cpu", progress=lambda _: None)
    assert whole is not None
    assert told(killed) == told(whole)
    assert tuple(loss for _, loss, _ in told(killed)) == history.train_loss


def test_a_neural_ode_killed_before_its_first_save_begins_again(tmp_path: Path) -> None:
    plan = NodeTraining("node", "moons", 2, 128, 0.01, RECIPES["node"].given({"width": 8}))
    with pytest.raises(KeyboardInterrupt):
        node_training.train(node_training.prepare(plan, 1), tmp_path, progress=stopped)
    (killed,) = tmp_path.iterdir()
    assert not (killed / "training.json").exists()
    text = resumed("node", "--resume", str(killed))
    assert "it begins again" in text
    assert json.loads((killed / "results.jsonl").read_text())["status"] == "ok"


def test_the_best_weights_are_those_of_the_best_epoch(tmp_path: Path) -> None:
    plan = training.Training("resnet", "se", "digits", 3, 8, 4, lr=2.0, schedule="none", ema=0.5)
    folder, history = training.train(plan, tmp_path, seed=0, device="cpu", progress=lambda _: None)
    assert folder is not None
    tensors, record = load_checkpoint(folder / "best.json")
    best = max(history.test_accuracy)
    assert record == {"epoch": history.test_accuracy.index(best) + 1, "score": best}
    assert record["epoch"] < 3  # or the last weights would pass this test too
    net, data = resnet(8, "se", 1, 10, 4), digits()
    net.load_state_dict(tensors)
    assert evaluate(net, data.test_x, data.test_y) == best


def test_the_journal_replaces_what_is_made_again_and_writes_no_nan(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "loss")
    for n in (1, 2, 3):
        journal(Epoch(n, 1.0 / n, float("nan"), 0.5))
    Journal(tmp_path, "loss")(Epoch(2, 7.0, 0.1, 0.5))
    rows = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert [r["train_loss"] for r in rows] == [1.0, 7.0]
    assert [r["loss"] for r in rows] == [None, 0.1]


def test_tensorboard_gets_the_epochs_once(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for first in (1, 2):  # the second writer is that of a resumed run
        journal = Journal(tmp_path, board=True)
        for n in range(first, 4):
            journal(Epoch(n, 10.0 * first + n, 0.5, 1.0))
    seen = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in seen.Scalars("train/loss")] == [(1, 11.0), (2, 22.0), (3, 23.0)]
    assert [e.step for e in seen.Scalars("test/accuracy")] == [1, 2, 3]


def test_without_tensorboard_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("odebridge.bench.journal.optional", lambda _name: None)
    done = CliRunner().invoke(app, ["train", "resnet", "--epochs", "1", "--tensorboard", "--out", str(tmp_path)])
    assert done.exit_code == 2
    assert "pip install 'odebridge[track]'" in done.output
    assert not list(tmp_path.iterdir())


def test_the_weights_are_written_before_the_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill between the weights and the row leaves a run that can go on, never one that has ended without weights."""

    def killed(path: Path, *rest: object) -> Path:
        saved = save_checkpoint(path, *rest)  # type: ignore[arg-type]
        if Path(path).name == "model.json":
            raise KeyboardInterrupt
        return saved

    plan = training.Training("resnet", "fixed", "digits", 1, 8, 4)
    monkeypatch.setattr("odebridge.bench.training.save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        training.train(plan, tmp_path, seed=1, device="cpu", progress=lambda _: None)
    (folder,) = tmp_path.iterdir()
    monkeypatch.undo()
    resumed("resnet", "--resume", str(folder), "--device", "cpu")
    assert json.loads((folder / "results.jsonl").read_text())["status"] == "ok"
