"""Two processes that share the batches are one process with batches of twice the size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from odebridge.train.parallel import World, launched, world

SCRIPT = Path(__file__).with_name("two_processes.py")
NORM = SCRIPT.with_name("two_processes_norm.py")
RUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
HERE = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parent.parent)}


def run(*command: str, **more: object) -> str:
    done = subprocess.run(command, env=HERE, capture_output=True, text=True, timeout=120, check=False, **more)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_losses_and_weights_are_those_of_one_process_with_twice_the_batch(tmp_path: Path) -> None:
    run(sys.executable, str(SCRIPT), "64", str(tmp_path / "one.pt"))
    run(*RUN, str(SCRIPT), "32", str(tmp_path / "two.pt"))
    one, two = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("one", "two"))
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-9)
    assert one["score"] == two["score"]
    for k, v in one["weights"].items():
        torch.testing.assert_close(v, two["weights"][k], rtol=1e-7, atol=1e-9)


@pytest.mark.slow
def test_with_batch_norm_two_processes_are_as_accurate_as_one(tmp_path: Path) -> None:
    """Each process normalises by its own half of a batch, so the runs differ; not by more than two seeds do."""
    seeds = [str(s) for s in range(6)]
    run(sys.executable, str(NORM), "64", str(tmp_path / "one.pt"), *seeds)
    run(*RUN, str(NORM), "32", str(tmp_path / "two.pt"), *seeds)
    one, two = (torch.tensor(torch.load(tmp_path / f"{name}.pt")) for name in ("one", "two"))
    assert float(one.mean()) > 0.9  # chance: 0.1
    spread = torch.cat([one - one.mean(), two - two.mean()]).std()
    # The mean of six differences of two runs has a deviation of spread sqrt(2 / 6); three of them, and one test image.
    assert float((one.mean() - two.mean()).abs()) < 3.0 * float(spread) * (2 / 6) ** 0.5 + 1 / 360, (one, two)


@pytest.mark.slow
def test_the_command_writes_one_folder(tmp_path: Path) -> None:
    options = ["--depth", "8", "--width", "4", "--epochs", "2", "--device", "cpu", "--batch-size", "64"]
    text = run(*RUN, "-m", "odebridge", "train", "resnet", *options, "--out", str(tmp_path))
    (folder,) = tmp_path.iterdir()
    assert text.count("epoch 1 of 2") == 1
    (row,) = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert row["status"] == "ok"
    assert len(row["values"]["accuracy"]) == 2


def test_alone_nothing_is_joined() -> None:
    assert world() == World(0, 1)
    with launched("cpu") as (mine, device):
        assert (mine.size, device) == (1, "cpu")
        assert not torch.distributed.is_initialized()
    pick = torch.arange(5)
    assert [World(r, 2).mine(pick).tolist() for r in (0, 1)] == [[0, 2, 4], [1, 3]]
