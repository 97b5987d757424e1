"""Where a calibrated law spends its tolerance: the error of every step against what it is worth later.

The worth W_n of step n is the root mean square deviation along the rest of the path for a unit of scaled error in that step:
every kept step is a trajectory of its own here, which starts at the step's end, moved along the slope, so that all of them are
one batch with starts of their own. Work is least where err_n W_n is constant; a classical law keeps err_n constant. Writes
docs/images/learned.svg and results/learned_picture.json.

    OMP_NUM_THREADS=1 python benchmarks/learned_picture.py      (about a minute, most of it the calibration)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor

import odebridge as ob
from odebridge.bench.controller_families import families
from odebridge.bench.environment import environment
from odebridge.core.files import write_atomic
from odebridge.problems import Problem
from odebridge.train.calibration.search import as_filter

FAMILY, METHOD, RTOL, SEED = "brusselator", "rodas5p", 1e-4, 0
HERE = Path(__file__).parent
PICTURE, RESULT = HERE.parent / "docs" / "images" / "learned.svg", HERE / "results" / "learned_picture.json"
MOVED = 1e-6  # how far a start is moved, in units of the weights: small enough to be linear


def steps_of(task: Problem, law: Any, atol: float) -> dict[str, Tensor]:
    """Times, states and scaled errors of the kept steps of one system."""
    sol = ob.solve(task, method=METHOD, controller=law, rtol=RTOL, atol=atol, save=ob.Every(), max_steps=100_000)
    assert sol.ts is not None
    assert sol.xs is not None
    assert sol.errors is not None
    return {
        "t": sol.ts[1:],
        "x": sol.xs[1:],
        "h": sol.hs,
        "error": sol.errors,
        "tries": sol.stats.accepted + sol.stats.rejected,
    }


def worth(task: Problem, t: Tensor, x: Tensor, atol: float) -> Tensor:
    """W_n (k,): RMS deviation along the rest of the path, over the size of the scaled deviation that started it."""
    t0, t1 = task.span
    times = torch.linspace(t0, t1, 400, dtype=torch.float64)
    k = len(t)
    args = None if task.args is None else task.args.expand(2 * k, -1)
    weights = atol + RTOL * x.abs()
    # Along the slope: errors across it die out within a step or two of a relaxing system, those along it are errors of phase.
    slope = task.field(t, x, task.args.expand(k, -1))
    way = slope / (slope / weights).square().mean(1, keepdim=True).sqrt()
    starts = torch.cat([x, x + MOVED * way])
    begin = torch.cat([t, t])
    late = times.expand(2 * k, -1).clamp_min(begin[:, None])  # times before the start are read there, and left out below
    sol = ob.integrate(
        task.field, starts, (begin, torch.full_like(begin, t1)), args=args, jacobian=task.jacobian, method=METHOD, rtol=1e-10,
        atol=1e-10 * atol / RTOL, save=ob.At(late), compile=True, max_steps=100_000,
    )  # fmt: skip
    assert sol.xs is not None
    off = (sol.xs[k:] - sol.xs[:k]) / (x.abs().amax(0) * 0.1 + sol.xs[:k].abs())
    off = torch.where((times > t[:, None])[:, :, None], off, 0.0)
    return off.square().mean((1, 2)).sqrt() / MOVED


def main() -> None:
    """Calibrate, take one fresh instance, measure and draw."""
    torch.set_num_threads(1)
    law = ob.calibrate(families(METHOD)[FAMILY](), method=METHOD, seed=SEED)
    atol = RTOL * law.report["atol_per_rtol"]
    task = families(METHOD)[FAMILY]().sample(1, 123).trajectory(0)
    laws = {"tuned filter": as_filter(torch.tensor(law.report["tuned"], dtype=torch.float64)), "calibrated": law}
    found = {name: steps_of(task, one, atol) for name, one in laws.items()}
    rows = {}
    for name, one in found.items():
        keep = one["t"] < task.span[1] - 1e-9
        w = worth(task, one["t"][keep], one["x"][keep], atol).numpy()
        e = one["error"][keep].numpy()
        good = (w > 0) & (e > 0)
        rows[name] = {
            "tries": int(one["tries"]), "steps": len(keep), "correlation of log error and log worth": float(
                np.corrcoef(np.log(e[good]), np.log(w[good]))[0, 1]
            ),
            "spread of log(error x worth)": float(np.std(np.log(e[good] * w[good]))),
        }  # fmt: skip
        one["w"], one["keep"] = torch.from_numpy(w), keep
    page = {"family": FAMILY, "method": METHOD, "rtol": RTOL, "laws": rows, "report": law.report["text"], **environment()}
    write_atomic(RESULT, json.dumps(page, indent=1).encode())
    print(json.dumps(rows, indent=1))
    draw(found)


def draw(found: dict[str, dict[str, Tensor]]) -> None:
    """State, what an error is worth, and the errors that the laws make."""
    mpl.rcParams.update({"svg.hashsalt": "learned", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    fig, axes = plt.subplots(3, 1, figsize=(7.2, 6.0), sharex=True, constrained_layout=True)
    colours = {"tuned filter": "#0072b2", "calibrated": "#d55e00"}
    first = found["tuned filter"]
    axes[0].plot(first["t"], first["x"][:, 0], color="#555555", lw=1)
    axes[0].set_ylabel("x")
    axes[1].semilogy(first["t"][first["keep"]], first["w"].clamp_min(1e-12), color="#555555", lw=1)
    axes[1].set_ylabel("what an error is worth\n(later error / its size)")
    for name, one in found.items():
        label = f"{name}: {int(one['tries'])} tries"
        axes[2].semilogy(one["t"], one["error"].clamp_min(1e-4), ".", ms=3, color=colours[name], label=label)
    axes[2].axhline(1.0, color="#888888", lw=0.8)
    axes[2].set(xlabel="t", ylabel="error of the step\n(1: at the tolerance)")
    axes[2].legend(loc="lower right", fontsize=8)
    fig.suptitle("One Brusselator by Rodas5P: what an error is worth later, and what errors two laws make", fontsize=10)
    fig.savefig(PICTURE, metadata={"Date": None})


if __name__ == "__main__":
    main()
