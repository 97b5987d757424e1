"""Every variant of the catalogue trains, goes on after a kill to the same bits, draws, and runs from the command line."""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import replace

import pytest
import torch
from matplotlib.figure import Figure
from typer.testing import CliRunner

from odebridge import cli
from odebridge.bench import node_training
from odebridge.bench.node_training import NodeTraining
from odebridge.data import Points, Series, annuli
from odebridge.train import RECIPES, Keep, fit_task
from odebridge.train.recipes import Recipe

runner = CliRunner()
SETS = [(r, d) for r in RECIPES.values() for d in (r.data, *r.others)]


def small(recipe: Recipe, data: str | None = None):
    """The task on a few samples of the data."""
    full = recipe.read(data)
    if isinstance(full, Points):
        full = type(full)(full.train_x[:64], full.train_y[:64], full.test_x[:32], full.test_y[:32], full.classes, full.name)
    elif isinstance(full, Series):
        names = ("train", "train_mask", "train_labels"), ("test", "test_mask", "test_labels")
        parts = {k: getattr(full, k) for k in (*names[0], *names[1])}
        cut = {k: None if v is None else v[: 16 if k.startswith("train") else 8] for k, v in parts.items()}
        full = type(full)(full.times, name=full.name, components=full.components, invariant=full.invariant, **cut)
    return recipe.task(full, 0)


def trained(recipe: Recipe, epochs: int = 2, keep: Keep | None = None, stop_after: int | None = None):
    task = small(recipe)

    def stop(epoch):
        if epoch.number == stop_after:
            raise KeyboardInterrupt

    try:
        history = fit_task(
            task, epochs=epochs, batch_size=min(32, task.n), lr=recipe.lr, optimiser=recipe.optimiser, progress=stop, keep=keep
        )
    except KeyboardInterrupt:
        history = None
    return task, history


@pytest.mark.parametrize(("recipe", "data"), SETS, ids=lambda v: getattr(v, "name", v))
def test_the_loss_falls(recipe, data):
    """On one fixed batch, by a few steps at the recipe's own rate."""
    task = small(recipe, data)
    pick = torch.arange(min(32, task.n))
    descent = torch.optim.Adam(task.model.parameters(), 0.5 * recipe.lr)
    losses = []
    for _ in range(8):
        loss = task.loss(pick)
        descent.zero_grad()
        loss.backward()
        descent.step()
        losses.append(loss.item())
    assert all(map(math.isfinite, losses))
    assert min(losses[-2:]) < losses[0]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda r: r.name)
def test_a_killed_training_goes_on_to_the_same_bits(recipe, tmp_path):
    path = tmp_path / "training.json"
    whole, expected = trained(recipe, 3)
    torch.manual_seed(99)  # what else a process has drawn must not matter
    trained(recipe, 3, Keep(path, every=0.0), stop_after=2)
    torch.manual_seed(7)
    again, history = trained(recipe, 3, Keep(path, resume=True, every=0.0))
    assert expected.ended == history.ended == "done"
    assert [e.number for e in history.epochs] == [1, 2, 3]
    assert history.train_loss == expected.train_loss
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda r: r.name)
def test_what_a_task_tells(recipe):
    task = small(recipe)
    figure = Figure()
    task.picture(figure)
    assert figure.axes
    counts = task.evaluations()
    assert counts["forward"] >= 0
    assert all(math.isfinite(v) for v in (*counts.values(), *task.extras().values(), task.score()))
    assert task.parameters > 0
    assert task.metric.name


def test_another_training_is_not_gone_on_with(tmp_path):
    path = tmp_path / "training.json"
    trained(RECIPES["node"], 2, Keep(path, every=0.0))
    with pytest.raises(ValueError, match="epochs=2 there and 3 here"):
        trained(RECIPES["node"], 3, Keep(path, resume=True))


@pytest.mark.parametrize("regulariser", ["rnode", "error-sampled", "steer"])
def test_a_killed_training_with_random_penalties_goes_on_to_the_same_bits(regulariser, tmp_path):
    """Their generators are part of the state."""
    recipe, path = RECIPES["anode"], tmp_path / "training.json"

    def task():
        return recipe.task(annuli(train=64, test=32), 0, regulariser=regulariser)

    def run(**more):
        one = task()
        with contextlib.suppress(KeyboardInterrupt):
            fit_task(one, epochs=3, batch_size=32, **more)
        return one.model.state_dict()

    def stop(epoch):
        if epoch.number == 2:
            raise KeyboardInterrupt

    whole = run()
    run(keep=Keep(path, every=0.0), progress=stop)
    again = run(keep=Keep(path, resume=True))
    assert all(torch.equal(whole[k], again[k]) for k in whole)


def test_a_refused_gradient_ends_the_training_with_a_sentence(tmp_path):
    recipe = RECIPES["momentum"]
    task = recipe.task(annuli(train=64, test=32), 0, depth=400)
    history = fit_task(task, epochs=2, batch_size=32)
    assert history.ended == "no gradient"
    assert "undoing 400 steps" in history.message


def test_a_failed_solve_ends_the_training_with_a_sentence():
    task = RECIPES["node"].task(annuli(train=64, test=32), 0)
    task.model.solver = replace(task.model.solver, more={"max_steps": 2})
    history = fit_task(task, epochs=2, batch_size=32)
    assert history.ended == "solve failed"
    assert "epoch 1" in history.message


def test_options_are_checked():
    recipe = RECIPES["node"]
    with pytest.raises(ValueError, match="'width'"):
        recipe.task(widht=3)
    with pytest.raises(ValueError, match="a whole number of at least 1"):
        recipe.task(width="many")
    with pytest.raises(ValueError, match="trains on annuli, moons"):
        recipe.task("digits")
    with pytest.raises(ValueError, match="'replay'"):
        recipe.task(gradient="repla")


def node(*words: str, code: int = 0) -> str:
    outcome = runner.invoke(cli.app, ["train", "node", *words])
    assert outcome.exit_code == code, outcome.output
    return outcome.output


def test_train_node_from_the_command_line(tmp_path):
    text = node("--epochs", "1", "--option", "width=8", "--method", "bosh3", "--seed", "3", "--out", str(tmp_path))
    assert "accuracy" in text
    (folder,) = tmp_path.iterdir()
    row = json.loads((folder / "results.jsonl").read_text())
    assert (row["status"], row["seed"], row["configuration"]["options"]["method"]) == ("ok", 3, "bosh3")
    assert row["values"]["evaluations"]["forward"] > 0
    assert (folder / "picture.svg").read_text().startswith("<?xml")
    assert (folder / "model.json").exists()
    assert "has ended" in node("--resume", str(folder), code=2)


FAST = {"node", "deq"}  # one that integrates, one that does not


@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in RECIPES])
def test_every_variant_trains_from_the_command_line(name, tmp_path):
    text = node("--variant", name, "--epochs", "1", "--out", str(tmp_path))
    assert f"{name} on {RECIPES[name].data}: " in text
    (folder,) = tmp_path.iterdir()
    assert json.loads((folder / "results.jsonl").read_text())["status"] == "ok"
    assert (folder / "picture.svg").exists()


def test_train_node_with_a_regulariser(tmp_path):
    node("--variant", "anode", "--epochs", "1", "--regulariser", "error", "--data", "moons", "--out", str(tmp_path))
    (folder,) = tmp_path.iterdir()
    assert json.loads((folder / "results.jsonl").read_text())["configuration"]["options"]["regulariser"] == "error"


def test_a_killed_run_goes_on_from_the_command_line(tmp_path):
    plan = NodeTraining("node", "moons", 2, 128, 0.01, RECIPES["node"].given({"width": 8}))

    def stop(epoch):
        if epoch.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        node_training.train(node_training.prepare(plan, 1), tmp_path / "killed", progress=stop, every=0.0)
    (killed,) = (tmp_path / "killed").iterdir()
    text = node("--resume", str(killed))
    assert "epoch 2 of 2" in text
    whole, _ = node_training.train(node_training.prepare(plan, 1), tmp_path / "whole", progress=lambda _: None)
    losses = [json.loads((f / "results.jsonl").read_text())["values"]["train_loss"] for f in (killed, whole)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--variant anodee", "variant"),
        ("--data digits", "trains on"),
        ("--method tsit6", "'tsit5'"),
        ("--gradient repla", "'replay'"),
        ("--regulariser kinetc", "'kinetic'"),
        ("--regulariser rnode --data pendulum", "classifiers of points"),
        ("--regulariser error --method kvaerno5", "'tsit5'"),
        ("--variant momentum --method tsit5", "no option 'method'"),
        ("--option width", "name=value"),
        ("--option widht=3", "'width'"),
        ("--option width=x", "such as 32"),
        ("--lr -1", "lr must"),
        ("--rtol -1", "at least 0"),
        ("--resume nowhere", "not a run folder"),
        ("--resume nowhere --lr 1", "leave out --lr"),
    ],
)
def test_a_mistake_is_one_sentence(words, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = node(*words.split(), code=2)
    assert says in text
    assert len(text.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
