"""The console commands. A mistake in what was typed is one sentence and exit code 2; a solve that failed is exit code 1."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from odebridge.bench.doctor import diagnosis
from odebridge.bench.solvers import errors
from odebridge.bench.words import number, seconds
from odebridge.cli.bench import SUITES, bench, report
from odebridge.cli.config import Config
from odebridge.cli.edge import Commands, Refused, refusing
from odebridge.cli.train import trainings
from odebridge.control.attention.catalogue import ATTENTION
from odebridge.control.catalogue import CONTROLLERS
from odebridge.core.names import lookup, matching, nearest
from odebridge.core.result import Result, Solution
from odebridge.data import DATA
from odebridge.integrate import Every, Last
from odebridge.methods.borrowed import BORROWED
from odebridge.methods.catalogue import METHODS
from odebridge.nets import MODELS
from odebridge.problems import PROBLEMS, Problem, problem
from odebridge.problems import solve as solved
from odebridge.train import RECIPES

__all__ = ["SUITES", "app", "main"]

KINDS: dict[str, Mapping[str, Any]] = {
    "methods": {**METHODS, **BORROWED},
    "controllers": {**CONTROLLERS, **ATTENTION},
    "problems": PROBLEMS,
    "models": MODELS,
    "data": DATA,
    "variants": RECIPES,
}
PICTURES = ("svg", "pdf", "png")
ATOL_PER_RTOL = 1e-4

app = typer.Typer(cls=Commands, add_completion=False, rich_markup_mode=None, pretty_exceptions_show_locals=False)
app.add_typer(trainings, name="train")


@app.callback(invoke_without_command=True)
def _top(context: typer.Context) -> None:
    """Stiff solvers and residual networks in one loop."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def doctor() -> None:
    """Show versions, devices, dtypes, peers and data sets found."""
    lines = diagnosis()
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        typer.echo(f"{name:{width}}  {text}")


@app.command("list")
def list_(
    kind: Annotated[str, typer.Argument(help=" | ".join(KINDS))],
    pattern: Annotated[str, typer.Argument(help='wildcards, such as "rodas*"')] = "*",
) -> None:
    """List the names of methods, controllers, problems, models, data sets or variants of the neural ODE."""
    with refusing():
        catalogue = lookup("catalogue", kind, KINDS)
    names = matching(catalogue, pattern)
    if not names:
        raise Refused(f"No name in {kind} matches {pattern!r}: {nearest(pattern.strip('*?'), catalogue)}")
    typer.echo("\n".join(names))


@app.command()
def solve(
    name: Annotated[str, typer.Argument(help="a problem: odebridge list problems")],
    method: Annotated[str | None, typer.Option(help="default: rodas5p for stiff problems, tsit5 for others")] = None,
    controller: Annotated[str | None, typer.Option(help="a classical law; default: the method's own")] = None,
    rtol: Annotated[float, typer.Option(help="relative tolerance")] = 1e-6,
    atol: Annotated[float | None, typer.Option(help="absolute tolerance; default: 1e-4 rtol")] = None,
    t1: Annotated[float | None, typer.Option(help="end of the span, in the problem's unit of time")] = None,
    first_step: Annotated[float | None, typer.Option(help="size of the first step; default: chosen from the field")] = None,
    max_steps: Annotated[int, typer.Option(help="tries, the rejected ones included")] = 10_000,
    compile: Annotated[bool, typer.Option("--compile", help="make the tries by a compiled kernel")] = False,
    plot: Annotated[Path | None, typer.Option(help="a picture of the solution: FILE.svg, .pdf or .png")] = None,
    config: Config = None,  # noqa: ARG001 - its callback has set the defaults
) -> None:
    """Solve a problem of the library and say how it went; exit code 1 if the solver did not get to the end."""
    with refusing():
        wanted = problem(name)
        scheme = method if method is not None else "rodas5p" if wanted.stiff else "tsit5"
        lookup("method", scheme, {**METHODS, **BORROWED})
        law = "of its own" if scheme in BORROWED else controller or METHODS[scheme].law
        if scheme in METHODS:
            _check_law(law, first_step)
        if t1 is not None and t1 != wanted.span[1]:
            wanted = replace(wanted, span=(wanted.span[0], t1), reference=None, digits=None)
    if plot is not None:
        _check_picture(plot)
    tolerance = ATOL_PER_RTOL * rtol if atol is None else atol
    one, began = wanted.batched(), time.perf_counter()
    with refusing(ValueError, TypeError):  # bad input is refused before the first step
        sol = solved(
            one, method=scheme, controller=controller, rtol=rtol, atol=tolerance, first_step=first_step, max_steps=max_steps,
            compile=compile, save=Last() if plot is None else Every(), throw=False,
        )  # fmt: skip
    took = time.perf_counter() - began
    how = f"{scheme}, controller {law}, rtol {rtol:g}, atol {tolerance:g}"
    typer.echo(f"{name} over [{wanted.span[0]:g}, {wanted.span[1]:g}] by {how}")
    _tell(wanted, sol, took, rtol, tolerance)
    if plot is not None:
        with refusing(OSError):
            sol.plot(title=f"{name} by {scheme}, rtol {rtol:g}").savefig(plot)
        typer.echo(f"picture: {plot}")
    if sol.failures:
        raise typer.Exit(1)


def _tell(wanted: Problem, sol: Solution, took: float, rtol: float, atol: float) -> None:
    code = Result(int(sol.result[0]))
    typer.echo(f"{code.name}: reached t = {wanted.span[1]:g}" if code == Result.OK else f"{code.name}: {sol.message}")
    counts = {k: int(v[0]) for k, v in vars(sol.stats).items() if k != "work"}
    typer.echo(", ".join(f"{k.replace('_', ' ')} {v}" for k, v in counts.items() if v) + f"; {seconds(took)}")
    if sol.failures:
        return
    typer.echo(f"x({wanted.span[1]:g}) = [{', '.join(f'{v:.10g}' for v in sol.x1[0].tolist())}]")
    if wanted.reference is not None and rtol > 0:
        off = errors(sol.x1[0].numpy(), wanted.reference.numpy(), atol / rtol)
        typer.echo(f"against {wanted.source}: largest relative error {number(off['relative'], 2)}, mescd {off['mescd']:.1f}")


def _check_law(law: str, first_step: float | None) -> None:
    if law in ATTENTION:
        laws = ", ".join(CONTROLLERS)
        raise Refused(f"--controller: {law!r} sizes the steps of networks; a solve over time takes one of {laws}.")
    lookup("controller", law, CONTROLLERS)
    if law == "fixed" and first_step is None:
        raise Refused("--controller: 'fixed' keeps the first step, so say how long it is, such as --first-step 0.01.")


def _check_picture(path: Path) -> None:
    kind = path.suffix.removeprefix(".").lower()
    if kind not in PICTURES:
        hint = nearest(kind, PICTURES) if kind else f"write {str(path) + '.svg'!r}."
        raise Refused(f"--plot: {str(path)!r} does not end in the name of a picture format: {hint}")
    if path.is_dir() or not path.parent.is_dir():
        why = "it is a folder" if path.is_dir() else f"there is no folder {str(path.parent)!r}"
        raise Refused(f"--plot: {str(path)!r} cannot be written, because {why}.")


app.command()(bench)
app.command()(report)


def main() -> None:
    """The console script."""
    app()
