"""`odebridge train resnet` and `odebridge train node`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from odebridge.bench import node_training, training
from odebridge.bench.node_training import PICTURE, NodeTraining, option_of
from odebridge.bench.record import RESULTS
from odebridge.bench.resume import saved
from odebridge.bench.training import DEVICES, PRESETS, WEIGHTS, Training
from odebridge.bench.words import seconds
from odebridge.cli.config import Config, from_file, table
from odebridge.cli.edge import Commands, Refused, refusing
from odebridge.control.attention.catalogue import ATTENTION
from odebridge.core.names import lookup
from odebridge.data import IMAGES
from odebridge.integrate.policies import GRADIENTS
from odebridge.nets.branches import NORMS
from odebridge.nets.node import REGULARISERS
from odebridge.nets.resnet import STYLES
from odebridge.nets.resnet import WEIGHTS as DEPTHS
from odebridge.train import RECIPES, Epoch, History
from odebridge.train.optimisers import OPTIMISERS, SCHEDULES
from odebridge.train.plan import PRECISIONS

SEEDS = 2**63 - 1
MOST = 10_000  # layers, or steps of a stage: beyond that a network is not built in any patience
EVERY = 1.0  # seconds between two lines of progress

trainings = typer.Typer(cls=Commands, add_completion=False, rich_markup_mode=None, help="Train a network.")
Out = Annotated[Path, typer.Option(help="folder that gets a folder for this run")]

Resume = Annotated[Path | None, typer.Option(help="go on with a run that was stopped: runs/<id>")]


def _alone(resume: Path, typed: dict[str, Any]) -> None:
    """A run that goes on has its settings already."""
    if extra := [k for k, v in typed.items() if v is not None]:
        raise Refused(f"--resume: goes on with the settings of {str(resume)!r}; leave out --{extra[0].replace('_', '-')}.")


def _again(resume: Path) -> None:
    """Says so where there is nothing to go on from: a run that was killed before its state was first saved."""
    if not saved(resume):
        typer.echo(f"{resume} was stopped before its state was first saved: it begins again.")


def _teller(epochs: Callable[[], int], score: Callable[[float], str], every: float = 0.0) -> Callable[[Epoch], None]:
    """Prints one line an epoch, but none within `every` seconds of the last, and the time that is left."""
    last = [-every]

    def show(epoch: Epoch) -> None:
        n = epochs()
        if epoch.number < n and time.monotonic() - last[0] < every:
            return
        last[0] = time.monotonic()
        left = f", {seconds(epoch.seconds / epoch.number * (n - epoch.number))} left" if epoch.number < n else ""
        said = f"loss {epoch.train_loss:.4f}, test {score(epoch.test_score)}, {seconds(epoch.seconds)}{left}"
        typer.echo(f"epoch {epoch.number} of {n}: {said}")

    return show


def _ended(folder: Path, history: History) -> None:
    typer.echo(f"results: {folder / RESULTS}")
    if history.ended != "done":
        typer.echo(history.message, err=True)
        raise typer.Exit(1)
    typer.echo(f"weights: {folder / WEIGHTS}")


@trainings.command("resnet")
def resnet(
    controller: Annotated[str | None, typer.Option(help=f"step sizes: fixed (1, default) | {' | '.join(ATTENTION)}")] = None,
    data: Annotated[str | None, typer.Option(help=f"{' | '.join(IMAGES)}; default: digits")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="default: 10")] = None,
    depth: Annotated[int | None, typer.Option(max=MOST, help="6 n + 2; default: 20")] = None,
    width: Annotated[int | None, typer.Option(min=1, help="channels of the first stage; default: 16")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, max=SEEDS, help="default: 128")] = None,
    lr: Annotated[float | None, typer.Option(help="highest learning rate; default: 0.1")] = None,
    preset: Annotated[str | None, typer.Option(help=f"settings that what else is typed changes: {' | '.join(PRESETS)}")] = None,
    optimiser: Annotated[str | None, typer.Option(help=f"{' | '.join(OPTIMISERS)}; default: sgd")] = None,
    schedule: Annotated[str | None, typer.Option(help=f"of the rate: {' | '.join(SCHEDULES)}; default: onecycle")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="default: 5e-4")] = None,
    precision: Annotated[str | None, typer.Option(help=f"{' | '.join(PRECISIONS)}; default: fp32")] = None,
    style: Annotated[str | None, typer.Option(help=f"of the network: {' | '.join(STYLES)}; default: preact")] = None,
    stem: Annotated[int | None, typer.Option(min=1, max=1000, help="stride of the first convolution; default: 1")] = None,
    augment: Annotated[bool | None, typer.Option("--augment", help="shift and, where the data allow, mirror images")] = None,
    crop: Annotated[int | None, typer.Option(help="with --augment: pixels of the pieces images are cut to")] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="default: 0")] = None,
    mixup: Annotated[float | None, typer.Option(help="alpha of the Beta law; default: 0, none")] = None,
    ema: Annotated[float | None, typer.Option(help="decay of the average of the weights; default: none")] = None,
    clip: Annotated[float | None, typer.Option(help="largest norm of the gradient; default: none")] = None,
    accumulate: Annotated[int | None, typer.Option(min=1, help="parts of a batch; default: 1")] = None,
    channels_last: Annotated[bool | None, typer.Option("--channels-last", help="memory format of images")] = None,
    compile: Annotated[bool | None, typer.Option("--compile", help="torch.compile")] = None,
    method: Annotated[str | None, typer.Option(help="of the steps, such as heun, rk4 or dopri5; default: euler")] = None,
    depth_weights: Annotated[str | None, typer.Option(help=f"{' | '.join(DEPTHS)}; default: layers")] = None,
    steps: Annotated[int | None, typer.Option(min=1, max=MOST, help="equal steps of a stage; default: one a block")] = None,
    rtol: Annotated[float | None, typer.Option(help="adaptive steps, for tied or linear depth weights")] = None,
    norm: Annotated[str | None, typer.Option(help=f"{' | '.join(NORMS)}; default: batch, group for continuous depth")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=SEEDS, help="of first weights and order; default: 0")] = None,
    device: Annotated[str, typer.Option(help=" | ".join(DEVICES))] = "auto",
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="write OUT/<id>/tensorboard too (extra: track)")] = False,
    out: Out = Path("runs"),
    resume: Resume = None,
    config: Config = None,
) -> None:
    """Train a residual network on images; writes OUT/<id>/: a line an epoch, the result, last and best weights, the state.

    Several GPUs or machines: torchrun --nproc-per-node 4 -m odebridge train resnet ...; --batch-size is that of one process.
    """
    given = {k: v for k, v in locals().items() if k in {f.name for f in fields(Training)} and v is not None}
    with refusing():
        if resume is None:
            plan = Training(**{**({} if preset is None else training.preset(preset, data)), **given})
            began_with = seed or 0
        else:
            _alone(resume, {**given, "preset": preset, "seed": seed})
            plan, began_with = training.plan_of(resume)
            _again(resume)
    show = _teller(lambda: plan.epochs, lambda share: f"accuracy {100 * share:.2f} %")
    with refusing():
        folder, history = training.train(
            plan, out, seed=began_with, device=device, progress=show, resume=resume, tensorboard=tensorboard
        )
    if folder is not None:  # of several processes the first one tells
        _ended(folder, history)


@trainings.command("node")
def node(
    context: typer.Context,
    variant: Annotated[str | None, typer.Option(help="odebridge list variants; default: node")] = None,
    data: Annotated[str | None, typer.Option(help="default: the variant's own")] = None,
    epochs: Annotated[int | None, typer.Option(min=1)] = None,
    batch_size: Annotated[int | None, typer.Option(min=1)] = None,
    lr: Annotated[float | None, typer.Option(help="highest learning rate")] = None,
    method: Annotated[str | None, typer.Option(help="odebridge list methods")] = None,
    gradient: Annotated[str | None, typer.Option(help=" | ".join(GRADIENTS))] = None,
    rtol: Annotated[float | None, typer.Option(help="relative tolerance")] = None,
    regulariser: Annotated[str | None, typer.Option(help=" | ".join(REGULARISERS))] = None,
    option: Annotated[list[str] | None, typer.Option(help="another option of the variant, name=value; may be repeated")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=SEEDS, help="of data, first weights and order; default: 0")] = None,
    out: Out = Path("runs"),
    resume: Resume = None,
    config: Config = None,  # noqa: ARG001 - its callback has set the defaults
) -> None:
    """Train a variant of the neural ODE; writes OUT/<id>/: results.jsonl, the weights, the state to go on from, picture.svg."""
    named: dict[str, Any] = {"method": method, "gradient": gradient, "rtol": rtol, "regulariser": regulariser}
    typed = {"variant": variant, "data": data, "epochs": epochs, "batch_size": batch_size, "lr": lr, "seed": seed, **named}
    if resume is not None:
        _alone(resume, {**typed, "option": option or table(context, "option") or None})
        with refusing():
            plan, began_with = node_training.plan_of(resume)
            _again(resume)
    else:
        with refusing():
            recipe = lookup("variant", variant or "node", RECIPES)
            options = {k: v for k, v in named.items() if v is not None}
            for name, value in (option_of(o, recipe) for o in option or []):
                if name in options:
                    raise Refused(f"--option: {name} is given twice, as {options[name]!r} and as {value!r}; write it once.")
                options[name] = value
            of_file = table(context, "option")
            if twice := [name for name in of_file if name in named and from_file(context, name)]:
                raise Refused(f"--config: {twice[0]} is given twice, by itself and in [option]; write it once.")
            options = {**of_file, **options}  # what is typed wins
            plan = NodeTraining(
                recipe.name, data or recipe.data, epochs or recipe.epochs, batch_size or recipe.batch_size,
                recipe.lr if lr is None else lr, recipe.given(options),
            )  # fmt: skip
        began_with = seed or 0
    with refusing():
        run = node_training.prepare(plan, began_with)
    show = _teller(lambda: plan.epochs, run.task.metric.told, EVERY)
    with refusing(ValueError, TypeError, OSError):
        folder, history = node_training.train(run, out, progress=show, resume=resume)
    typer.echo(run.said())
    if (folder / PICTURE).exists():
        typer.echo(f"picture: {folder / PICTURE}")
    _ended(folder, history)
