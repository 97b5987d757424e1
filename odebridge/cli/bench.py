"""`odebridge bench SUITE` and `odebridge report`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from odebridge.bench import quick, read, write_report
from odebridge.bench.counters import counters
from odebridge.bench.pool import BACKENDS
from odebridge.bench.progress import Display
from odebridge.bench.record import REPORT, RESULTS
from odebridge.bench.report import sentences
from odebridge.bench.suite import SUITES as MEASURED
from odebridge.bench.suite import Suite
from odebridge.bench.suites import NETWORKS, NetworkSuite
from odebridge.cli.config import Config
from odebridge.cli.edge import Refused, refusing
from odebridge.core.names import lookup, nearest
from odebridge.data import IMAGES

SUITES: dict[str, Callable[..., Path]] = {
    "quick": quick,
    **{name: Suite(name) for name in MEASURED},
    **{name: NetworkSuite(name) for name in NETWORKS},
    "counters": counters,
}


def bench(
    suite: Annotated[str, typer.Argument(help=" | ".join(SUITES))],
    out: Annotated[Path, typer.Option(help="folder that gets a folder for this run")] = Path("runs"),
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**63 - 1, help="of data, weights and order of training; default: 0")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help=f"{' | '.join(IMAGES)}; default: Fashion-MNIST where it is installed, else digits")
    ] = None,
    small: Annotated[bool, typer.Option("--quick", help="a small size, about half a minute")] = False,
    full: Annotated[bool, typer.Option("--full", help="everything, hours")] = False,
    device: Annotated[str | None, typer.Option(help="where our solvers and networks run; default: cpu")] = None,
    jobs: Annotated[int | None, typer.Option(help="cases at once, each with one thread; -1: one for every core")] = None,
    backend: Annotated[str | None, typer.Option(help=f"{' | '.join(BACKENDS)}; where the jobs run")] = None,
    cluster: Annotated[str | None, typer.Option(help="address of a Dask or Ray cluster, such as tcp://host:8786")] = None,
    shard: Annotated[str | None, typer.Option(help="i/n: the i-th of n shares of the cases, as for an array of jobs")] = None,
    minutes: Annotated[float | None, typer.Option(help="begin no case after so many; --resume goes on")] = None,
    only: Annotated[str | None, typer.Option(help='cases whose label matches, such as "robertson, *"')] = None,
    families: Annotated[Path | None, typer.Option(help="controllers: a Python file with FAMILIES = {name: function}")] = None,
    against: Annotated[Path | None, typer.Option(help="counters: compare with this file, exit code 1 if they differ")] = None,
    resume: Annotated[Path | None, typer.Option(help="go on with a run that was stopped: runs/<id>")] = None,
    config: Config = None,  # noqa: ARG001 - its callback has set the defaults
) -> None:
    """Run a benchmark suite; writes OUT/<id>/results.jsonl and report.html."""
    with refusing():
        run = lookup("suite", suite, SUITES)
    if cluster is not None and backend is None:
        backend = "dask"
    given = {
        "data": data, "quick": small or None, "full": full or None, "device": device, "jobs": jobs, "backend": backend,
        "cluster": cluster, "shard": shard, "minutes": minutes, "only": only, "families": families,
        "against": against, "resume": resume,
    }  # fmt: skip
    given = {k: v for k, v in given.items() if v is not None}
    if other := [k for k in given if k not in inspect.signature(run).parameters]:
        raise Refused(f"--{other[0]}: the suite {suite!r} does not have it.")
    if resume is not None and (
        typed := [k for k in ("seed", *given) if k in SETTINGS and {**given, "seed": seed}[k] is not None]
    ):
        raise Refused(f"--resume: goes on with the settings of {str(resume)!r}; leave out --{typed[0]}.")
    with Display() as show, refusing(OSError, ValueError):
        try:
            folder = run(out, seed=seed or 0, tell=show, **given)
        except KeyboardInterrupt:
            more = f", `odebridge bench {suite} --resume {out}/<id>` goes on" if suite != "quick" else ""
            typer.echo(f"Stopped. Finished runs are kept; `odebridge report {out}/<id>` makes a page of them{more}.", err=True)
            raise typer.Exit(130) from None
    with refusing(OSError, ValueError):
        _tell(folder)


SETTINGS = ("seed", "data", "quick", "full", "device", "shard", "only", "families")  # what makes a run what it is


def _tell(folder: Path) -> None:
    """Findings, paths, exit code."""
    if folder.suffix == ".json":
        typer.echo(f"counters: {folder}")
        return
    if not (folder / RESULTS).exists():
        typer.echo(f"No case was run; `--resume {folder}` goes on.")
        return
    for title, said in sentences([folder]).items():
        typer.echo(f"\n{title}")
        for sentence in said:
            typer.echo(f"  - {sentence}")
    typer.echo(f"\nresults: {folder / RESULTS}\nreport:  {folder / REPORT}")
    if any(row["status"] == "error" for row in read(folder).rows):
        raise typer.Exit(1)


def report(
    folders: Annotated[list[Path], typer.Argument(help="run folders, runs/<id> ...")],
    out: Annotated[Path | None, typer.Option(help="default: report.html in the run folder, or here for several")] = None,
) -> None:
    """Make one HTML page of one or several runs."""
    for folder in folders:
        if not folder.exists():
            beside = [p.name for p in folder.parent.iterdir() if (p / RESULTS).exists()] if folder.parent.is_dir() else []
            hint = nearest(folder.name, beside) if beside else "`odebridge bench quick` makes one."
            raise Refused(f"There is no run folder {str(folder)!r}: {hint}")
    single = folders[0] if folders[0].is_dir() else folders[0].parent
    path = out or (single / REPORT if len(folders) == 1 else Path(REPORT))
    with refusing():
        write_report(folders, path)
    typer.echo(f"report: {path}")
