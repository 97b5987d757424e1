"""One training of a neural ODE variant as a run folder, that can be killed and gone on with."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from odebridge.bench.record import Row, RunFolder
from odebridge.bench.resume import STATE, saved, unfinished
from odebridge.bench.training import WEIGHTS, keep_last_good
from odebridge.core.names import lookup
from odebridge.core.result import SolveError
from odebridge.train import RECIPES, Epoch, History, Keep, Recipe, Task, fit_task, save_checkpoint
from odebridge.train.plan import Plan

PICTURE = "picture.svg"
SUITE = "train-node"


@dataclass(frozen=True)
class NodeTraining:
    """What to train, by names; options: all options of the variant."""

    variant: str
    data: str
    epochs: int
    batch_size: int
    lr: float
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """The command line of this training, without the seed."""
        words = [f"--{k.replace('_', '-')} {v}" for k, v in asdict(self).items() if k != "options"]
        return " ".join(["odebridge train node", *words, *(f"--option {k}={v}" for k, v in self.options.items())])


@dataclass
class Prepared:
    """A task that is ready to be trained, and what came of it."""

    plan: NodeTraining
    seed: int
    recipe: Recipe
    task: Task
    values: dict[str, Any] = field(default_factory=dict)

    def said(self) -> str:
        """The outcome in a line."""
        counts = ", ".join(f"{k} {v:.4g}" for k, v in self.values.get("evaluations", {}).items())
        extras = "".join(f"; {k.replace('_', ' ')} {v:.3g}" for k, v in self.values.get("extras", {}).items())
        return f"{self.plan.variant} on {self.plan.data}: {self.task.parameters} parameters; f evaluations: {counts}{extras}"


def option_of(text: str, recipe: Recipe) -> tuple[str, Any]:
    """name=value as a pair with the value of the option's kind; ValueError in a sentence."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"option: {text!r} is not of the form name=value.")
    known = lookup("option", name, recipe.options)
    try:
        if isinstance(known, bool):
            return name, {"true": True, "false": False}[value.lower()]
        return name, type(known)(value)
    except (ValueError, KeyError):
        kinds = {bool: "true or false", int: "a whole number", float: "a number"}
        raise ValueError(f"option: {name} is {kinds[type(known)]}, such as {str(known).lower()}, not {value!r}.") from None


def prepare(plan: NodeTraining, seed: int) -> Prepared:
    """Data, first weights and loss, tried out; ValueError in a sentence for anything that cannot be trained so."""
    recipe = lookup("variant", plan.variant, RECIPES)
    task = recipe.task(plan.data, seed, **plan.options)
    Plan(task.n, plan.epochs, plan.batch_size, plan.lr, recipe.optimiser, 0.0, recipe.schedule, None)
    states = [g.get_state() for g in task.generators]
    with torch.random.fork_rng(devices=[]), contextlib.suppress(SolveError):  # that one is an outcome of training
        task.loss(torch.arange(min(2, task.n)))
    for generator, state in zip(task.generators, states, strict=True):
        generator.set_state(state)
    return Prepared(plan, seed, recipe, task)


def plan_of(folder: Path) -> tuple[NodeTraining, int]:
    """The settings and the seed of a run folder that was stopped; see `unfinished`."""
    return unfinished(folder, SUITE, "a neural ODE", NodeTraining)


def train(
    run: Prepared, out: Path, *, progress: Callable[[Epoch], None], resume: Path | None = None, every: float = 20.0
) -> tuple[Path, History]:
    """Train and write OUT/<id>/: run.json first, training.json every so many seconds; at the end a row, weights and a picture.

    resume: the folder of a run that was stopped; its end is that of one that was not, and without a saved state it begins
    again. ValueError before anything is written.
    """
    plan, task = run.plan, run.task
    settings = {**asdict(plan), "seed": run.seed}
    if resume is None:
        options = {**{k: v for k, v in settings.items() if k != "options"}, "option": dict(plan.options)}
        folder = RunFolder(out, SUITE, settings, f"{plan.command} --seed {run.seed}", options)
    else:
        folder = RunFolder.reopened(resume, SUITE)
    began = time.monotonic()
    history = fit_task(
        task, epochs=plan.epochs, batch_size=plan.batch_size, lr=plan.lr, optimiser=run.recipe.optimiser,
        schedule=run.recipe.schedule, seed=run.seed, progress=progress,
        keep=Keep(folder.path / STATE, saved(resume), every),
    )  # fmt: skip
    good = history.ended == "done"
    scores = [e.test_score for e in history.epochs]
    run.values = {
        "metric": asdict(task.metric), "score": scores, "train_loss": list(history.train_loss),
        "train_seconds": history.seconds, "parameters": task.parameters,
    }  # fmt: skip
    if good:
        try:
            run.values |= {"evaluations": dict(task.evaluations()), "extras": dict(task.extras())}
            draw(task, folder.path / PICTURE, f"{plan.variant} on {plan.data}: {task.metric.told(scores[-1])}")
        except SolveError as error:
            good, history = False, History(history.epochs, "solve failed", str(error), history.seconds)
    status, message = ("ok", "") if good else ("failed", history.message)
    if good:  # before the row, which says that the run has ended
        save_checkpoint(folder.path / WEIGHTS, task.model.state_dict(), {**settings, "score": scores})
    elif history.epochs:
        keep_last_good(folder.path, task.model, history)
    took, n = time.monotonic() - began, torch.get_num_threads()
    folder.append(Row(SUITE, asdict(plan), run.values, status, message, run.seed, took, "cpu", n))
    return folder.path, history


def draw(task: Task, path: Path, title: str) -> None:
    """The picture of a task as a file; the ending of its name says which kind."""
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    task.picture(figure)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
