"""When the eager loop runs instead, and the sentence that says so."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from odebridge.core.protocols import Method, StepController
from odebridge.integrate.engine.card import Card
from odebridge.integrate.engine.driver import Engine
from odebridge.integrate.engine.kernels import bound_kernel
from odebridge.integrate.engine.launch import Cores, Launcher
from odebridge.integrate.engine.scalars import Unsupported
from odebridge.integrate.engine.traced import prepared
from odebridge.integrate.loops import Lanes
from odebridge.integrate.system import BoundField
from odebridge.linalg.structure import Dense
from odebridge.methods.dirk import Dirk
from odebridge.methods.explicit_rk import ExplicitRK
from odebridge.methods.rosenbrock import Rosenbrock

MEASURED = (2, 11)  # the oldest torch this was measured with
LAUNCHERS: dict[str, type[Launcher]] = {"cpu": Cores, "cuda": Card}  # by type of device
LARGEST = 64  # components of one trajectory


def engine(
    lanes: Lanes, f: BoundField, method: Method, law: StepController, after: Any, max_steps: int, powers: bool
) -> Engine | None:
    """The compiled loop for these lanes; None, with one warning that says why, where it cannot be had."""
    why = _beforehand(lanes, f, method)
    if why is None:
        try:
            bound = bound_kernel(prepared(lanes, method), f, method, law, after, max_steps, powers)
            return Engine(LAUNCHERS[lanes.x.device.type](bound, len(lanes.t)), method, max_steps)
        except Unsupported as reason:
            why = str(reason)
        except Exception as error:  # whatever goes wrong inside a compiler, the eager loop has the answer
            why = f"it could not be compiled ({type(error).__name__}: {error})"
    warnings.warn(f"compile=True: this solve runs in the eager loop, since {why}.", RuntimeWarning, stacklevel=7)
    return None


def _beforehand(lanes: Lanes, f: BoundField, method: Method) -> str | None:
    n = lanes.x[0].numel() if len(lanes.x) else 0
    have = tuple(int("".join(c for c in v if c.isdigit()) or 0) for v in torch.__version__.split("+")[0].split(".")[:2])
    if have < MEASURED:
        return (
            f"torch {torch.__version__} is older than {'.'.join(map(str, MEASURED))}, the oldest version it was measured with"
        )
    device = lanes.x.device.type
    if device not in LAUNCHERS:
        return f"kernels are made for the CPU and for CUDA, and x0 is on {device!r}"
    if (missing := LAUNCHERS[device].missing()) is not None:
        return missing
    if not isinstance(method, (ExplicitRK, Rosenbrock, Dirk)):
        return f"method {method.name!r} is not compiled; explicit Runge-Kutta, Rosenbrock and DIRK methods are"
    if lanes.x.dtype not in (torch.float64, torch.float32):
        return f"kernels take float64 and float32 states, and x0 is {lanes.x.dtype}"
    if f.mass is not None:
        return "systems with a mass matrix are not compiled"
    if not isinstance(f.structure, Dense):
        return f"sparsity is not compiled ({type(f.structure).__name__}); leave it out for small systems"
    if f.parts is not None:
        return f"a field of type {type(f.field).__name__} is not compiled"
    if n == 0:
        return "there is nothing to solve"
    if n > LARGEST:
        return f"a trajectory has {n} components, and kernels are made for up to {LARGEST}"
    return None
