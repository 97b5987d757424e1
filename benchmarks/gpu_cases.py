"""The systems of `gpu.py` and who solves them: our kernels and eager loop, torchdiffeq, torchode and diffrax."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

import torch

import odebridge as ob

CASES = {  # name: method, span, rtol, atol
    "robertson rodas5p": ("rodas5p", 1e5, 1e-4, 1e-8),
    "robertson kvaerno5": ("kvaerno5", 1e5, 1e-4, 1e-8),
    "lotka_volterra tsit5": ("tsit5", 10.0, 1e-6, 1e-6),
}


def robertson(_t, x, k):
    """Robertson's reactions; k (b, 1)."""
    a, b, c = x.unbind(-1)
    made, lost = k[:, 0] * a - 1e4 * b * c, 3e7 * b * b
    return torch.stack([-made, made - lost, lost], -1)


def lotka_volterra(_t, x, k):
    """Predators and prey; k (b, 1)."""
    a, b = x.unbind(-1)
    return torch.stack([1.5 * a - a * b, k[:, 0] * a * b - 3.0 * b], -1)


def family(case: str, b: int, device: str) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """The field, states (b, n) and parameters (b, 1)."""
    field, first, k = (robertson, [1.0, 0.0, 0.0], 0.04) if case.startswith("robertson") else (lotka_volterra, [1.0, 1.0], 1.0)
    i = torch.arange(1, b + 1, dtype=torch.float64)[:, None]
    x0 = torch.tensor([first], dtype=torch.float64) * (1.0 + 0.01 * (i * 0.7548776662466927 % 1.0))
    return field, x0.to(device), (k * (1.0 + 0.01 * (i * 0.5698402909980532 % 1.0))).to(device)


Solve = Callable[[], tuple[torch.Tensor, float]]  # states at the end, tries of a trajectory


def ours(case: str, b: int, device: str, compiled: bool, threads: int = 1) -> Solve:
    """Our solver; x0 on the device."""
    field, x0, k = family(case, b, device)
    method, end, rtol, atol = CASES[case]

    def solve() -> tuple[torch.Tensor, float]:
        torch.set_num_threads(threads)
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # that it runs in the eager loop
            sol = ob.integrate(
                field, x0, (0.0, end), args=k, method=method, rtol=rtol, atol=atol, compile=compiled, max_steps=100_000
            )
        return sol.x1, float((sol.stats.accepted + sol.stats.rejected).double().mean())

    return solve


def torchdiffeq(case: str, b: int, device: str) -> Solve:
    """Dopri5 with one step size for the batch."""
    from torchdiffeq import odeint

    field, x0, k = family(case, b, device)
    _, end, rtol, atol = CASES[case]
    calls = [0]

    def f(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        return field(t, x, k)

    def solve() -> tuple[torch.Tensor, float]:
        calls[0] = 0
        times = torch.tensor([0.0, end], dtype=torch.float64, device=x0.device)
        with torch.no_grad():
            return odeint(f, x0, times, rtol=rtol, atol=atol, method="dopri5")[-1], calls[0] / 6

    return solve


def torchode(case: str, b: int, device: str) -> Solve:
    """Tsit5, a step size for each trajectory."""
    import torchode as to

    field, x0, k = family(case, b, device)
    _, end, rtol, atol = CASES[case]
    term = to.ODETerm(lambda t, x: field(t, x, k))
    adjoint = to.AutoDiffAdjoint(to.Tsit5(term=term), to.IntegralController(atol=atol, rtol=rtol, term=term))
    times = torch.tensor([0.0, end], dtype=torch.float64, device=x0.device).expand(len(x0), 2)
    problem = to.InitialValueProblem(y0=x0, t_eval=times)

    def solve() -> tuple[torch.Tensor, float]:
        with torch.no_grad():
            out = adjoint.solve(problem)
        return out.ys[:, -1], float(out.stats["n_steps"].double().mean())

    return solve


def diffrax(case: str, b: int) -> Solve:
    """Tsit5 or Kvaerno5 under vmap and jit on JAX's own default device."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # else it takes most of the card from the others
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    import diffrax as dx

    _, x0, k = family(case, b, "cpu")
    method, end, rtol, atol = CASES[case]
    start, rates = jnp.asarray(x0.numpy()), jnp.asarray(k[:, 0].numpy())

    def field(_t: Any, x: Any, k: Any) -> Any:
        if case.startswith("robertson"):
            made, lost = k * x[0] - 1e4 * x[1] * x[2], 3e7 * x[1] * x[1]
            return jnp.stack([-made, made - lost, lost])
        return jnp.stack([1.5 * x[0] - x[0] * x[1], k * x[0] * x[1] - 3.0 * x[1]])

    solver = dx.Tsit5() if method == "tsit5" else dx.Kvaerno5()
    sizes = dx.PIDController(rtol=rtol, atol=atol, pcoeff=0.3, icoeff=0.4)

    @jax.jit
    @jax.vmap
    def run(x: Any, k: Any) -> Any:
        out = dx.diffeqsolve(
            dx.ODETerm(field), solver, 0.0, end, None, x, args=k, stepsize_controller=sizes, max_steps=None,
            saveat=dx.SaveAt(t1=True), throw=False,
        )  # fmt: skip
        return out.ys[0], out.stats["num_steps"]

    def solve() -> tuple[torch.Tensor, float]:
        ys, steps = jax.block_until_ready(run(start, rates))
        return torch.from_numpy(__import__("numpy").array(ys)), float(steps.mean())

    return solve


def contenders(case: str, device: str, cores: int) -> dict[str, Callable[[int], Solve]]:
    """By name: b -> solve. Explicit peers only where the system is not stiff."""
    found: dict[str, Callable[[int], Solve]] = {
        f"odebridge, {device} kernel": lambda b: ours(case, b, device, True),
        "odebridge, cpu kernel, 1 thread": lambda b: ours(case, b, "cpu", True),
        f"odebridge, eager on {device}": lambda b: ours(case, b, device, False),
    }
    if cores > 1:
        found[f"odebridge, cpu kernel, {cores} threads"] = lambda b: ours(case, b, "cpu", True, cores)
    if "tsit5" in case:
        found[f"torchdiffeq dopri5 on {device}"] = lambda b: torchdiffeq(case, b, device)
        found[f"torchode tsit5 on {device}"] = lambda b: torchode(case, b, device)
    if "rodas5p" not in case:  # which diffrax does not have
        found[f"diffrax {CASES[case][0]}"] = lambda b: diffrax(case, b)
    return found
