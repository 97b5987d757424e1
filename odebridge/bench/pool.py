"""Where the cases of a suite run: here one after the other, in several processes, or on a cluster."""

from __future__ import annotations

import math
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import joblib
import torch

from odebridge.bench.interrupt import quiet_after_ctrl_c
from odebridge.bench.record import Row
from odebridge.bench.runner import Case, Event, Part, run_case, run_part
from odebridge.core.optional import optional

Piece = tuple[Part, int, Case]  # a part without its cases, the place of the case, the case
BACKENDS = ("loky", "dask", "ray")


@dataclass(frozen=True)
class How:
    """jobs: cases at once, each with one thread; -1: one for every core. backend: joblib's "loky" (processes), "dask" or "ray".

    cluster: the address of a Dask scheduler, such as "tcp://host:8786", or of a Ray cluster; "dask" without one starts `jobs`
    workers here. shard (i, n): only the i-th of n equal shares of the cases, i from 1. minutes: after so many no case is
    begun; `--resume` goes on. Caveat: cases that share a processor disturb each other's times, never their counts.
    """

    jobs: int = 1
    backend: str = "loky"
    cluster: str | None = None
    shard: tuple[int, int] | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.jobs == 0 or self.jobs < -1:
            raise ValueError(f"jobs: write a positive number, or -1 for one on every core; got {self.jobs}.")
        if self.backend not in BACKENDS:
            raise ValueError(f"backend: {self.backend!r} is not one of {', '.join(BACKENDS)}.")
        if self.cluster is not None and self.backend == "loky":
            raise ValueError("cluster: an address needs --backend dask or --backend ray.")
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"minutes: write a positive number; got {self.minutes:g}.")

    @property
    def spread_out(self) -> bool:
        """Whether cases run elsewhere than in this process."""
        return self.jobs != 1 or self.backend != "loky"


def shard_of(text: str) -> tuple[int, int]:
    """From "3/16" (3, 16). ValueError, in a sentence, for anything else."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"shard: {text!r} is not of the form i/n with i from 1 to n, such as 3/16.")
    return int(found[1]), int(found[2])


def share(part: Part, shard: tuple[int, int] | None) -> Part:
    """Every n-th case from the i-th on: neighbours, which cost alike, go to different shares."""
    if shard is None:
        return part
    i, n = shard
    return part.without(lambda order, _: order % n != i - 1)


def run_parts(parts: Sequence[Part], how: How, write: Callable[[Row], Any], tell: Callable[[Event], None]) -> None:
    """All cases of all parts, each row written as soon as it is there; what is lost by a crash is the cases in work."""
    until = math.inf if how.minutes is None else time.monotonic() + 60.0 * how.minutes
    parts = [share(part, how.shard) for part in parts]
    if not how.spread_out:
        for part in parts:
            run_part(part, write, tell, until)
        return
    totals, done = {part.name: len(part.cases) for part in parts}, dict.fromkeys((part.name for part in parts), 0)
    pieces = [(_bare(part), order, case) for part in parts for order, case in part.numbered()]
    for name in totals:
        tell(Event(name, "", 0, totals[name]))
    with quiet_after_ctrl_c(), closing(_everywhere(pieces, how, until)) as outcomes:
        for (part, _, case), row in outcomes:
            write(row)
            done[part.name] += 1
            tell(Event(part.name, case.label, done[part.name], totals[part.name], row))


def _everywhere(pieces: list[Piece], how: How, until: float) -> Generator[tuple[Piece, Row]]:
    """Pieces with their rows, as they come; where a worker dies, those left are run one by one to find which it was."""
    left = dict(enumerate(pieces))
    try:
        with _backend(how):
            work = _parallel(how.jobs, return_as="generator_unordered", pre_dispatch="all")
            began, end, home = time.time(), _clock(until), os.getpid()
            given = (joblib.delayed(_worked)(i, piece, began, end, home) for i, piece in left.items())
            with closing(work(given)) as outcomes:
                for i, row in outcomes:
                    piece = left.pop(i)
                    if row is not None:
                        yield piece, row
        return
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except Exception as error:
        if how.backend != "loky" or not left:
            raise
        died = f"{type(error).__name__}: a worker process died"
    for part, order, case in left.values():
        if time.monotonic() >= until:
            return
        yield (part, order, case), _alone(part, order, case, died)


def _alone(part: Part, order: int, case: Case, died: str) -> Row:
    """One case in a process of its own; an "error" row if that dies, too."""
    try:
        work = _parallel(2, backend="loky")  # with one job it would run in this process
        return next(iter(work([joblib.delayed(_worked)(0, (part, order, case), time.time(), None, os.getpid())])))[1]
    except Exception as error:
        message = f"{died} of this case ({type(error).__name__})"
        return Row(part.name, case.configuration, {}, "error", message, case.seed, threads=part.threads, order=order)


def _parallel(jobs: int, **more: Any) -> Any:
    """One case at a time to each worker: joblib would put quick ones together, and a crash would then lose more than one."""
    options: dict[str, Any] = {"batch_size": 1, **more}
    return joblib.Parallel(n_jobs=jobs, **options)


def _worked(i: int, piece: Piece, began: float, until: float | None, home: int) -> tuple[int, Row | None]:
    """In a worker: the row of a piece; None if it is too late to begin. home: the process that gives the work.

    began: when the run was; the cases of a part without a limit of their own share its budget from then on.
    """
    if until is not None and time.time() >= until:
        return i, None
    part, order, case = piece
    # Ctrl-C reaches every process of a terminal; a worker leaves it to the one that gave it the work, which ends it.
    if os.getpid() != home and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(part.threads)
    left = part.budget if part.each is not None else part.budget - (time.time() - began)
    return i, run_case(part, case, order, left)


def _clock(until: float) -> float | None:
    """A reading of `time.monotonic` here as one of `time.time`, which other machines share."""
    return None if until == math.inf else time.time() + until - time.monotonic()


def _bare(part: Part) -> Part:
    """Without the cases: they would travel with every one of them."""
    return replace(part, cases=(), orders=())


@contextmanager
def _backend(how: How) -> Generator[None]:
    with ExitStack() as stack:
        if how.backend == "dask":
            stack.enter_context(_dask(how))
            stack.enter_context(joblib.parallel_config(backend="dask"))
        elif how.backend == "ray":
            _ray(how)
            stack.enter_context(joblib.parallel_config(backend="ray"))
        else:
            stack.enter_context(joblib.parallel_config(backend="loky", inner_max_num_threads=1))
        yield


@contextmanager
def _dask(how: How) -> Generator[Any]:
    distributed: Any = optional("distributed")
    if distributed is None:
        raise ValueError("backend: 'dask' is not installed; pip install dask distributed.")
    with ExitStack() as stack:
        if how.cluster is None:
            workers = how.jobs if how.jobs > 0 else joblib.cpu_count()
            cluster = stack.enter_context(
                distributed.LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
            )
            yield stack.enter_context(distributed.Client(cluster))
        else:
            yield stack.enter_context(distributed.Client(how.cluster))


def _ray(how: How) -> None:
    ray: Any = optional("ray")
    if ray is None:
        raise ValueError("backend: 'ray' is not installed; pip install ray.")
    if not ray.is_initialized():
        ray.init(address=how.cluster, ignore_reinit_error=True)
    optional("ray.util.joblib").register_ray()  # type: ignore[union-attr]


def only(parts: Iterable[Part], wanted: Callable[[str], bool]) -> list[Part]:
    """Parts with the cases whose label is wanted; parts without any are left out."""
    kept = [part.without(lambda _, case: not wanted(case.label)) for part in parts]
    return [part for part in kept if part.cases]
