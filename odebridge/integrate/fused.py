"""An explicit step as one graph by torch.compile, for fields whose price in eager PyTorch is the number of operations."""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from odebridge.core.protocols import Counts, Step
from odebridge.integrate.system import BoundField
from odebridge.methods.explicit_rk import ExplicitRK
from odebridge.tableaus.base import ButcherTableau

Advance = Callable[..., Any]
# One entry for each field that is alive; Inductor keeps what it has built between processes.
_made: WeakKeyDictionary[Any, dict[str, Advance]] = WeakKeyDictionary()
# tanh by an exponential: three times as fast on a CPU, and right to the last place but one of what is near 1.
OPTIONS = {"cpp.use_decompose_tanh": True}


@dataclass(frozen=True)
class Fused:
    """The steps of an explicit method, each as one compiled graph, forward and backward; everything else as the method.

    The first step of a field, a batch size and a dtype takes seconds (10 to 15 for a small network), later ones none.
    Where torch.compile fails, one warning says so and the steps run eager.
    """

    method: ExplicitRK

    @property
    def name(self) -> str:
        """As the method's."""
        return self.method.name

    @property
    def order(self) -> int:
        """As the method's."""
        return self.method.order

    @property
    def error_order(self) -> int | None:
        """As the method's."""
        return self.method.error_order

    @property
    def dense_order(self) -> int:
        """As the method's."""
        return self.method.dense_order

    @property
    def law(self) -> str:
        """As the method's."""
        return self.method.law

    @property
    def tableau(self) -> ButcherTableau:
        """As the method's."""
        return self.method.tableau

    def start(self, field: Any, t: Any, x: Tensor) -> None:
        """Nothing is remembered."""

    def step(self, field: Any, t: Tensor, x: Tensor, dt: Tensor, h: Tensor, slope: Tensor, memory: None) -> Step:
        """One step with its error estimate."""
        made = self.advance(field, t, x, dt, h, slope)
        return made._replace(error=self.estimate(made.stages, h))

    def advance(self, field: BoundField, t: Tensor, x: Tensor, dt: Tensor, h: Tensor, slope: Tensor) -> Step:
        """One step without it."""
        if field.window is not None:
            return self.method.advance(field, t, x, dt, h, slope)
        if field.tally is not None:
            field.tally.rows += (self.tableau.stages - 1) * len(x)
        if torch.is_grad_enabled():  # so that there is one graph, not one for each way to need a gradient
            x, slope = (v if v.requires_grad else v.detach().requires_grad_() for v in (x, slope))
        x1, last, stages, pair = _graph(self.method, field.field)(field.args, t, x, dt, h, slope)
        return Step(x1, None, last, None, None, stages, cost=Counts(f_evals=self.tableau.stages - 1), extra=pair)

    def estimate(self, slopes: Any, h: Any) -> Tensor | None:
        """As the method's."""
        return self.method.estimate(slopes, h)

    def interpolant(self, *given: Any) -> tuple[Tensor, ...]:
        """As the method's."""
        return self.method.interpolant(*given)


def _graph(method: ExplicitRK, field: Callable[..., Tensor]) -> Advance:
    """The compiled step of a field, made once."""
    of = _made.setdefault(field, {})
    if method.name not in of:
        of[method.name] = _or_eager(method, field)
    return of[method.name]


def _or_eager(method: ExplicitRK, field: Callable[..., Tensor]) -> Advance:
    def step(args: Any, t: Tensor, x: Tensor, dt: Tensor, h: Tensor, slope: Tensor) -> Any:
        def f(time: Tensor, y: Tensor) -> Tensor:
            return field(time.to(y.dtype), y) if args is None else field(time.to(y.dtype), y, args)

        made = method.advance(f, t, x, dt, h, slope)  # type: ignore[arg-type]
        return made.x, made.slope, made.stages, made.extra

    # Dynamo counts variants by code object and gives up after eight: every field gets one of its own.
    own = types.FunctionType(step.__code__.replace(), step.__globals__, step.__name__, step.__defaults__, step.__closure__)
    compiled = torch.compile(own, dynamic=False, options=OPTIONS)  # type: ignore[arg-type]
    failed = False

    def run(*given: Any) -> Any:
        nonlocal failed
        if failed:
            return step(*given)
        try:
            return compiled(*given)
        except Exception as error:  # no compiler, or a field that does not trace; what is wrong with it itself shows in eager
            failed = True
            words = f"compiled=True: torch.compile fails ({type(error).__name__}), so the steps run eager."
            warnings.warn(words, RuntimeWarning, stacklevel=3)
            return step(*given)

    return run
