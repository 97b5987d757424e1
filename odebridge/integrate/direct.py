"""Direct: the gradient through the step sizes as well, for controllers that are trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from odebridge.core.protocols import Method, Step, StepController
from odebridge.core.result import Solution
from odebridge.core.shapes import take, tree_map
from odebridge.integrate.loops import After, Attempt, Lanes, attempt, limited
from odebridge.integrate.span import Task
from odebridge.integrate.system import BoundField


@dataclass(frozen=True)
class Direct:
    """The adaptive loop itself with a graph: gradients go through step sizes, errors and controller, rejected tries included.

    Exact for the pattern of kept and rejected tries, which is a constant. Every round is tried without a graph first; a try
    that gave nothing finite is not made again, and the controller sees its (infinite) error as a constant, so that it
    poisons nothing. Memory grows with all tries, work is twice that of plain autograd through the loop. The first step is a
    constant. ValueError for events and for methods that find something by search (implicit ones, RKC, auto), whose error
    estimate cannot be made again without searching. Caveat: the derivative of x1 to a step size is of the size of the local
    error; train a controller on errors and sizes (`save=ob.Every()`), not on x1 alone.
    Use: `ob.integrate(f, x0, (0.0, 9.0), controller=net, gradient=ob.Direct())`.
    """

    def solve(self, task: Task) -> Solution:
        """The solution with its graph."""
        name = task.method.name
        if hasattr(task.method, "replay") or name == "auto":
            raise ValueError(
                f"gradient: Direct differentiates error estimates, and those of {name!r} come out of a search; use an explicit "
                "or a Rosenbrock method ('tsit5', 'rodas5p')."
            )
        if task.extras.crossings is not None:
            raise ValueError("gradient: Direct does not differentiate events; freeze the controller and use ob.Replay().")
        return task.found(trying=decided)


def decided(
    lanes: Lanes, f: BoundField, method: Method, controller: StepController, after: After | None, max_steps: int
) -> tuple[Lanes, Attempt]:
    """One round: look which tries are finite, then make those with a graph."""
    with torch.no_grad():
        plain = tree_map(Tensor.detach, lanes)
        _, looked = attempt(plain, replace(f, args=plain.args), method, controller, after, max_steps)
    poor = ~torch.isfinite(looked.error) & ~looked.kept
    if not bool(poor.any()):
        return attempt(lanes, f, method, controller, after, max_steps)
    parts, order = [], []
    for index in ((~poor).nonzero()[:, 0], poor.nonzero()[:, 0]):
        if len(index) == 0:
            continue
        some, field = take(lanes, index), f.take(index)
        if bool(poor[index[0]]):
            step = take(looked.step, index)
            step = step._replace(x=limited(after, step.x), slope=looked.slope1[index])
            parts.append(attempt(some, field, _Given(method, step), controller, None, max_steps))  # type: ignore[arg-type]
        else:
            parts.append(attempt(some, field, method, controller, after, max_steps))
        order.append(index)
    back = torch.cat(order).argsort()
    return take(tree_map(lambda *v: torch.cat(v), *parts), back)


@dataclass(frozen=True)
class _Given:
    """A method whose step has been made: all constants."""

    method: Method
    made: Step

    @property
    def error_order(self) -> int | None:
        """As the method's."""
        return self.method.error_order

    def step(self, *given: Any) -> Step:
        """What was made."""
        return self.made
