"""NaN, memory that runs out, Ctrl-C: a sentence, and the last good state is kept. Equal seeds give equal bits."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import odebridge as ob
from odebridge import cli
from odebridge.bench import node_training, training
from odebridge.bench.training import LAST_GOOD
from odebridge.data import Images
from odebridge.nets import resnet
from odebridge.train import RECIPES, fit, fit_loss, fit_task, load_checkpoint
from odebridge.train.calibration import calibrate as calibration
from tests.limits import processor_seconds
from tests.test_recipes import small

runner = CliRunner()
FAST = ("node", "momentum", "deq", "cnf")  # one of each kind now, all of them with -m slow
VARIANTS = [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in RECIPES]
NAN, MEMORY = "nan", torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.fixture(autouse=True)
def _in_time():
    with processor_seconds(60.0):
        yield


class Spoiled(nn.Module):
    """A model that does well in training for so many batches, and then gives NaN or raises."""

    def __init__(self, model: nn.Module, after: int, fault: object = NAN) -> None:
        super().__init__()
        self.model, self.left, self.fault = model, after, fault

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.model(x)
        if self.training:
            self.left -= 1
            if self.left < 0:
                if isinstance(self.fault, BaseException):
                    raise self.fault
                return out * math.nan
        return out


def spoil(task, after: int, fault: object = NAN):
    """A task whose loss does the same."""
    left = [after]

    def loss(pick):
        value = task.loss(pick)
        left[0] -= 1
        if left[0] >= 0:
            return value
        if isinstance(fault, BaseException):
            raise fault
        return value * math.nan

    return replace(task, loss=loss)


def pictures(n: int = 64) -> Images:
    chance = torch.Generator().manual_seed(0)
    x, y = torch.randn(n, 1, 8, 8, generator=chance), torch.randint(10, (n,), generator=chance)
    return Images(x, y, x[:16], y[:16], 10, "random")


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(v, other[k]) for k, v in one.items())


@pytest.mark.parametrize("ema", [None, 0.5])
@pytest.mark.parametrize("after", [0, 3, 4, 6])  # batches: two are an epoch
def test_a_classifier_keeps_the_weights_of_its_last_good_epoch(after, ema):
    scored = {}
    model = Spoiled(resnet(8, "se", 1, 10, 4), after)
    first = weights(model)
    model_now = model.model

    def watch(epoch):
        scored[epoch.number] = epoch.test_score

    history = fit(model, pictures(), epochs=5, batch_size=32, device="cpu", progress=watch, ema=ema)
    assert history.ended == "not finite"
    assert len(history.epochs) == after // 2
    assert f"epoch {after // 2 + 1}" in history.message
    if after < 2:
        assert "the first ones" in history.message
        assert same(first, weights(model))
    else:
        assert f"those of epoch {after // 2}" in history.message
        now = ob.train.evaluate(model_now, pictures().test_x, pictures().test_y)
        assert now == scored[after // 2]
    assert all(torch.isfinite(v).all() for v in model.state_dict().values())


def test_a_map_keeps_the_weights_of_its_last_good_epoch():
    torch.manual_seed(0)
    x = torch.randn(32, 2)
    model, losses = Spoiled(nn.Linear(2, 2), 5), []
    history = fit_loss(model, x, -x, test=(x, -x), epochs=9, device="cpu", progress=lambda e: losses.append(e.test_score))
    assert (history.ended, len(history.epochs)) == ("not finite", 5)
    assert nn.functional.mse_loss(model.model(x), -x).item() == losses[-1]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_keeps_its_last_good_weights(name):
    recipe = RECIPES[name]
    task = small(recipe)
    batch = min(32, task.n)
    steps = max(1, task.n // batch)
    history = fit_task(spoil(task, steps), epochs=3, batch_size=batch, lr=recipe.lr)
    assert (history.ended, len(history.epochs)) == ("not finite", 1)
    assert "lower lr" in history.message
    with torch.random.fork_rng(devices=[]):
        score = task.score()
    assert score == pytest.approx(history.epochs[0].test_score, nan_ok=True)


def test_weights_that_the_last_step_of_an_epoch_has_spoiled_are_noticed():
    """The loss of the epoch is finite, and its last gradient is not: no score of NaN weights, and no best weights of it."""

    class Cliff(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.zeros(2))

        def forward(self, x):
            return x + self.w.abs().sqrt()  # an infinite slope at 0

    history = fit_loss(Cliff(), torch.ones(4, 2), torch.zeros(4, 2), epochs=3, device="cpu", optimiser="sgd")
    assert history.ended == "not finite"
    assert "The weights are not finite after epoch 1" in history.message


@pytest.mark.parametrize("by", ["least_squares", "lbfgs", "adam"])
def test_a_fit_whose_field_gives_nan_away_from_the_guess_keeps_the_best_so_far(by):
    times = torch.linspace(0.1, 1.0, 8, dtype=torch.float64)
    values = torch.exp(-3.0 * times)[:, None]

    def field(t, x, a):
        return torch.where(a > 1.5, torch.nan, -a) * x  # the truth lies beyond where it can be evaluated

    one = torch.ones(1, dtype=torch.float64)
    found = ob.fit(ob.Problem(field, one, (0.0, 1.0), args=one.clone()), (times, values), by=by, trials=30)
    assert math.isfinite(found.cost)
    assert 1.0 <= float(found.parameters[0]) <= 1.5
    nowhere = ob.fit(ob.Problem(field, one, (0.0, 1.0), args=2.0 * one), (times, values), by=by, trials=30)
    assert not nowhere.ok
    assert "first guess" in nowhere.message


def test_a_calibration_on_a_field_of_nan_is_a_sentence():
    x0 = torch.rand(40, 2, dtype=torch.float64)
    family = ob.Problem(lambda t, x: x * torch.where(t > 0.5, torch.nan, -1.0)[:, None], x0, (0.0, 1.0))
    with pytest.raises(ValueError, match="cannot be solved"):
        calibration.calibrate(family, instances=8, generations=1, progress=False)


@pytest.mark.parametrize("fault", [NAN, MEMORY, KeyboardInterrupt()], ids=["nan", "memory", "ctrl-c"])
@pytest.mark.parametrize("after", [1, 2])  # epochs, of 718 and of 1 batches
@pytest.mark.parametrize("kind", ["resnet", "node"])
def test_a_training_that_is_ended_by_a_fault(tmp_path, monkeypatch, kind, after, fault):
    """On the command line: exit code 1 (130 for Ctrl-C), sentences, no traceback, and what is on the disk can be read."""
    monkeypatch.chdir(tmp_path)
    if kind == "resnet":
        made, steps = training.TRAINABLE["resnet"], 1437 // 512
        monkeypatch.setitem(training.TRAINABLE, "resnet", lambda *a: Spoiled(made(*a), after * steps, fault))
        words = "train resnet --depth 8 --width 2 --batch-size 512 --epochs 3 --device cpu"
    else:
        ready, steps = node_training.prepare, 1000 // 500

        def prepared(plan, seed):
            run = ready(plan, seed)
            run.task = spoil(run.task, after * (run.task.n // 500), fault)
            return run

        monkeypatch.setattr(node_training, "prepare", prepared)
        words = "train node --data moons --option width=4 --batch-size 500 --epochs 3"
    outcome = runner.invoke(cli.app, words.split())
    stopped = isinstance(fault, KeyboardInterrupt)
    assert outcome.exit_code == (130 if stopped else 1), outcome.output
    assert isinstance(outcome.exception, SystemExit)
    assert "Traceback" not in outcome.output
    last = outcome.output.strip().splitlines()[-1]
    (folder,) = Path("runs").iterdir()
    if fault is NAN:
        assert f"not finite in epoch {after + 1}" in last
        assert json.loads((folder / "results.jsonl").read_text())["status"] == "failed"
        tensors, record = load_checkpoint(folder / LAST_GOOD)
        assert record["epoch"] == after
        assert all(torch.isfinite(v).all() for v in tensors.values())
        assert not (folder / "model.json").exists()
    else:
        assert ("Stopped." if stopped else "Out of memory: CUDA out of memory.") in last
        assert not (folder / "results.jsonl").exists()
    if kind == "resnet":
        assert load_checkpoint(folder / "best.json")[1]["epoch"] <= after
        assert len((folder / "metrics.jsonl").read_text().splitlines()) == after


class Backward(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, slope):
        raise MEMORY


def test_memory_that_runs_out_in_a_backward_pass_is_not_read_as_a_refused_gradient():
    class Model(nn.Linear):
        def forward(self, x):
            return Backward.apply(super().forward(x))

    x = torch.randn(8, 2)
    with pytest.raises(torch.OutOfMemoryError):
        fit_loss(Model(2, 2), x, x, epochs=1, device="cpu")


@pytest.mark.parametrize("method", ["tsit5", "rodas5p", "kvaerno5", "bdf", "radau5", "auto"])
@pytest.mark.parametrize("calls", [0, 1, 7, 30])
def test_memory_that_runs_out_in_a_field_reaches_the_caller_as_it_is(method, calls):
    left = [calls]

    def field(t, x):
        left[0] -= 1
        if left[0] < 0:
            raise MEMORY
        return -x

    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        ob.integrate(field, torch.ones(3, 2, dtype=torch.float64), (0.0, 1.0), method=method, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("controller", [None, "se", "stepnet", "dia"])
def test_equal_seeds_make_equal_residual_networks(controller):
    def trained():
        torch.manual_seed(3)
        net = resnet(8, controller, 1, 10, 4)
        history = fit(net, pictures(), epochs=2, batch_size=16, device="cpu", augment=True, mixup=0.2, ema=0.9, seed=5)
        return weights(net), history.train_loss

    (one, losses), (other, again) = trained(), trained()
    assert losses == again
    assert same(one, other)


@pytest.mark.parametrize("name", VARIANTS)
def test_equal_seeds_make_equal_variants(name):
    """Two trainings in one process; that a third goes on after a kill to the same bits is tested in test_recipes.py."""
    recipe = RECIPES[name]

    def trained(noise: int):
        torch.manual_seed(noise)  # what a process has drawn before must not matter
        task = small(recipe)
        history = fit_task(task, epochs=1, batch_size=min(32, task.n), lr=recipe.lr)
        return weights(task.model), history.train_loss

    (one, losses), (other, again) = trained(1), trained(2)
    assert losses == again
    assert same(one, other)


@pytest.mark.parametrize("name", [n if n == "momentum" else pytest.param(n, marks=pytest.mark.slow) for n in RECIPES])
def test_one_and_two_threads_count_the_same_evaluations(name):
    task = small(RECIPES[name])
    counts = []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            counts.append(dict(task.evaluations()))
    finally:
        torch.set_num_threads(1)
    assert counts[0] == counts[1]
