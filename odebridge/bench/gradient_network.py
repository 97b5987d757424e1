"""A neural ODE 2-64-64-2 (tanh): ours, torchdiffeq, torchode and diffrax."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from odebridge.bench.contest import Contender
from odebridge.compat.torchdiffeq import odeint
from odebridge.core.optional import optional
from odebridge.integrate import At, Replay, integrate
from odebridge.peers.base import EnsembleRun, timed
from odebridge.problems import Problem

WIDTH, GAIN, SAVES = 64, 2.0, 10
F32, F64 = [10.0**-k for k in range(2, 8)], [10.0**-k for k in range(2, 10)]
Loss = Callable[[nn.Module, Tensor, float, float], Tensor]


class Net(nn.Module):
    """dx/dt = W3 tanh(W2 tanh(W1 x + b1) + b2) + b3; weights of PyTorch's own start times 2, so that steps are many.

    speed multiplies it, which is a solve of so many units of time.
    """

    def __init__(self, speed: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.speed = speed
        self.net = nn.Sequential(
            nn.Linear(2, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 2)
        ).requires_grad_()  # fmt: skip
        with torch.no_grad():
            for p in self.parameters():
                p *= GAIN

    def forward(self, t: Any, x: Tensor) -> Tensor:
        """f(t, x)."""
        return self.net(x) if self.speed == 1.0 else self.speed * self.net(x)


def states(b: int, dtype: torch.dtype) -> Tensor:
    """Where the trajectories start, (b, 2); the first of them are the same for every b."""
    return torch.randn(b, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def times(dtype: torch.dtype = torch.float64) -> Tensor:
    """The ends of ten equal parts of (0, 1)."""
    return torch.linspace(0.0, 1.0, SAVES + 1, dtype=dtype)[1:]


def task(b: int, dtype: torch.dtype) -> Problem:
    """As a problem, for its batch and its span; contenders use `Net` and `states`."""
    return Problem(lambda _, x: -x, states(b, dtype), (0.0, 1.0), name="neural ODE")


def flat(net: nn.Module) -> np.ndarray:
    """The gradient of all parameters as one row (1, p), float64."""
    return torch.cat([p.grad.double().reshape(-1) for p in net.parameters() if p.grad is not None]).numpy()[None]


def our_loss(method: str, policy: Any, **options: Any) -> Loss:
    """Mean square of the saved states, by our own solver."""

    def loss(net: nn.Module, x0: Tensor, rtol: float, atol: float) -> Tensor:
        sol = integrate(net, x0, (0.0, 1.0), method=method, rtol=rtol, atol=atol, save=At(times()), gradient=policy, **options)
        assert sol.xs is not None
        return sol.xs.square().mean()

    return loss


class One(nn.Module):
    """The whole batch as one trajectory: one step size and one error norm for all, as torchdiffeq and diffrax have it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, t: Any, x: Tensor) -> Tensor:
        """X (1, 2 b)."""
        return self.net(t, x.reshape(-1, 2)).reshape(x.shape)


def our_batch_loss(method: str, policy: Any) -> Loss:
    """`our_loss` with one step size for the whole batch."""
    ones: dict[int, One] = {}

    def loss(net: nn.Module, x0: Tensor, rtol: float, atol: float) -> Tensor:
        one = ones.setdefault(id(net), One(net))
        return our_loss(method, policy)(one, x0.reshape(1, -1), rtol, atol)

    return loss


def our_odeint_loss(method: str) -> Loss:
    """The same with one step size for the whole batch, through the drop-in for torchdiffeq."""

    def loss(net: nn.Module, x0: Tensor, rtol: float, atol: float) -> Tensor:
        when = torch.linspace(0.0, 1.0, SAVES + 1, dtype=x0.dtype)
        return odeint(net, x0, when, rtol=rtol, atol=atol, method=method)[1:].square().mean()

    return loss


def torchdiffeq_loss(solver: str) -> Loss:
    """The same by `odeint` or `odeint_adjoint`, dopri5."""

    def loss(net: nn.Module, x0: Tensor, rtol: float, atol: float) -> Tensor:
        library = optional("torchdiffeq")
        when = torch.linspace(0.0, 1.0, SAVES + 1, dtype=x0.dtype)
        return getattr(library, solver)(net, x0, when, rtol=rtol, atol=atol, method="dopri5")[1:].square().mean()

    return loss


def torchode_loss(method: str) -> Loss:
    """The same by AutoDiffAdjoint with the PID coefficients of its own page."""

    def loss(net: nn.Module, x0: Tensor, rtol: float, atol: float) -> Tensor:
        library = optional("torchode")
        term = library.ODETerm(net)
        law = library.PIDController(term=term, atol=atol, rtol=rtol, pcoeff=0.2, icoeff=0.5, dcoeff=0.0)
        solver = library.AutoDiffAdjoint(getattr(library, method)(term=term), law)
        when = torch.linspace(0.0, 1.0, SAVES + 1, dtype=x0.dtype).expand(len(x0), -1)
        return solver.solve(library.InitialValueProblem(y0=x0, t_eval=when)).ys[:, 1:].square().mean()

    return loss


LOSSES: dict[str, Loss] = {
    "odebridge:tsit5": our_loss("tsit5", Replay()),
    "odebridge:tsit5 compiled": our_loss("tsit5", Replay(compiled=True)),
    "odebridge:tsit5 compiled, steps": our_loss("tsit5", Replay("steps", compiled=True)),
    "odebridge:tsit5 steps": our_loss("tsit5", Replay("steps")),
    "odebridge:tsit5 sqrt": our_loss("tsit5", Replay("sqrt")),
    "odebridge:tsit5 at once": our_loss("tsit5", Replay(at_once=True)),
    "odebridge:odeint": our_odeint_loss("dopri5"),
    "odebridge:tsit5 batch": our_batch_loss("tsit5", Replay()),
    "odebridge:tsit5 batch, compiled": our_batch_loss("tsit5", Replay(compiled=True)),
    "odebridge:tsit5 batch, compiled, steps": our_batch_loss("tsit5", Replay("steps", compiled=True)),
    "odebridge:dopri8": our_loss("dopri8", Replay()),
    "torchdiffeq:odeint": torchdiffeq_loss("odeint"),
    "torchdiffeq:odeint_adjoint": torchdiffeq_loss("odeint_adjoint"),
    "torchode:Dopri5": torchode_loss("Dopri5"),
    "torchode:Tsit5": torchode_loss("Tsit5"),
}
DIFFRAX = ("diffrax:Tsit5 batch", "diffrax:Tsit5 vmap")


def by_torch(name: str, dtype: torch.dtype) -> Contender:
    """A solver in PyTorch."""
    net = Net().to(dtype)

    def solve(problem: Problem, rtol: float, atol: float, limit: float) -> EnsembleRun:
        net.zero_grad()
        with timed() as clock:
            LOSSES[name](net, problem.x0, rtol, atol).backward()
        return _run(flat(net), clock.seconds, clock.cpu, len(problem.x0))

    return Contender(name, solve, rtols=F32 if dtype == torch.float32 else F64)


def _run(row: np.ndarray, seconds: float, cpu: float, b: int, compiling: float = 0.0) -> EnsembleRun:
    """A gradient that all trajectories share stands in each of their places, so that all count as solved."""
    ok = bool(np.isfinite(row).all())
    return EnsembleRun(np.repeat(row, b, 0), {}, seconds, cpu, compiling, np.full(b, ok), "" if ok else "not finite")


@cache
def jax_gradient(name: str, b: int, dtype: torch.dtype, speed: float = 1.0) -> Callable[[float, float], Any]:
    """Value and gradient by diffrax, jit and RecursiveCheckpointAdjoint, of (rtol, atol)."""
    jax, diffrax = optional("jax"), optional("diffrax")
    jax.config.update("jax_enable_x64", True)
    jnp, net = jax.numpy, Net().to(dtype)
    weights = [jnp.asarray(p.detach().numpy()) for p in net.parameters()]
    x0, when = jnp.asarray(states(b, dtype).numpy()), jnp.asarray(times(dtype).numpy())

    def field(t: Any, y: Any, w: Any) -> Any:
        return speed * (jnp.tanh(jnp.tanh(y @ w[0].T + w[1]) @ w[2].T + w[3]) @ w[4].T + w[5])

    def solved(y: Any, w: Any, rtol: Any, atol: Any) -> Any:
        return diffrax.diffeqsolve(
            diffrax.ODETerm(field), diffrax.Tsit5(), 0.0, 1.0, None, y, w, saveat=diffrax.SaveAt(ts=when),
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol), max_steps=4096,
            adjoint=diffrax.RecursiveCheckpointAdjoint(),
        ).ys  # fmt: skip

    def loss(w: Any, rtol: Any, atol: Any) -> Any:
        if name.endswith("vmap"):  # a step of its own for each trajectory
            return (jax.vmap(lambda y: solved(y, w, rtol, atol))(x0) ** 2).mean()
        return (solved(x0, w, rtol, atol) ** 2).mean()  # one step for the batch, as in torchdiffeq

    gradient = jax.jit(jax.value_and_grad(loss))
    return lambda rtol, atol: jax.block_until_ready(gradient(weights, rtol, atol))


def by_diffrax(name: str, b: int, dtype: torch.dtype) -> Contender:
    """The checkpointed adjoint of diffrax, compiled before it is timed."""

    def solve(problem: Problem, rtol: float, atol: float, limit: float) -> EnsembleRun:
        run = jax_gradient(name, b, dtype)
        with timed() as clock:
            _, grads = run(rtol, atol)
        return _run(np.concatenate([np.asarray(g, np.float64).reshape(-1) for g in grads])[None], clock.seconds, clock.cpu, b)

    return Contender(name, solve, rtols=F32 if dtype == torch.float32 else F64)


def contenders(b: int, dtype: torch.dtype) -> list[Contender]:
    """Everybody."""
    return [*(by_torch(name, dtype) for name in LOSSES), *(by_diffrax(name, b, dtype) for name in DIFFRAX)]


@cache
def truth(b: int) -> np.ndarray:
    """The gradient at rtol 1e-11 by Dopri8, in float64, (1, p)."""
    net = Net().double()
    our_loss("dopri8", Replay())(net, states(b, torch.float64), 1e-11, 1e-11).backward()
    return flat(net)
