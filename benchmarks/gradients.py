"""Gradients, forward and backward: a neural ODE beside diffrax, torchdiffeq and torchode, Robertson beside diffrax and CVODE.

    python benchmarks/gradients.py [--quick] [--full]    # the suite `odebridge bench gradients`, and a page of it

Writes benchmarks/results/gradients/results.jsonl and table.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from versus import run

TITLE = "Gradients"
TEXT = (
    "Neural ODE 2-64-64-2 (tanh), t from 0 to 1, 10 saves, the mean square of what is saved; atol = rtol; error: max |g - r| / "
    "max |r| over the gradient of all parameters, r by Dopri8 at rtol 1e-11 in float64. `batch`: one step size for the batch, "
    "as torchdiffeq has it; `vmap`, torchode and ours: one for each trajectory. PyTorch solvers run eager. "
    "Robertson: gradient of each trajectory's own loss to its three log rates, 50 saves, t to 1e5, atol = 1e-6 rtol; error: "
    "median over trajectories. One thread, processor time, medians over interleaved rounds with their range, interpolated "
    "between the two tolerances that bracket the error."
)

if __name__ == "__main__":
    run("gradients", "gradients", TITLE, TEXT)
