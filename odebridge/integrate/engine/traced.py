"""One try of the loop as a graph of aten operations, for a single trajectory, with the user's functions left as holes."""

# ruff: noqa: ARG005 - what a hole returns depends on shapes only
from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import GraphModule

from odebridge.core.protocols import Method, StepController
from odebridge.core.shapes import leaves, tree_map
from odebridge.core.tolerance import Tolerance
from odebridge.integrate.engine.capture import traced
from odebridge.integrate.loops import Lanes, attempt
from odebridge.linalg.lu import Factors
from odebridge.methods.dirk import Dirk
from odebridge.methods.implicit import Held

HOLES = torch.library.Library("odebridge", "DEF")
HOLES.define("field(Tensor t, Tensor x) -> Tensor")
HOLES.define("after(Tensor x) -> Tensor")
HOLES.define("differentiate(Tensor t, Tensor x) -> (Tensor, Tensor)")
HOLES.define("factor(Tensor jac, Tensor shift) -> (Tensor, Tensor)")
HOLES.define("instead(Tensor mask, Tensor new, Tensor old) -> Tensor")
HOLES.define("solve(Tensor factors, Tensor rhs) -> Tensor")
HOLES.define(
    "renew(Tensor t, Tensor x, Tensor shift, Tensor jac, Tensor lu, Tensor rows, Tensor singular, Tensor anew, Tensor moved)"
    " -> (Tensor, Tensor, Tensor, Tensor)"
)
HOLES.define(
    "newton(Tensor t, Tensor x, Tensor known, Tensor per, Tensor damp, Tensor factors, Tensor z, Tensor weights, Tensor rate, "
    "Tensor active, int limit) -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)


def _matrix(x: Tensor) -> Tensor:
    return x.new_empty(len(x), x[0].numel(), x[0].numel())


def _fake(name: str, function: Callable[..., Any]) -> None:
    torch.library.register_fake(f"odebridge::{name}", function, lib=HOLES)


_fake("field", lambda t, x: torch.empty_like(x))
_fake("after", lambda x: torch.empty_like(x))
_fake("differentiate", lambda t, x: (_matrix(x), torch.empty_like(x)))
_fake("factor", lambda jac, shift: (torch.empty_like(jac), torch.empty_like(shift, dtype=torch.bool)))
_fake("instead", lambda mask, new, old: torch.empty_like(old))
_fake("solve", lambda factors, rhs: torch.empty_like(rhs))
_fake(
    "renew",
    lambda t, x, shift, jac, lu, rows, singular, anew, moved: (
        torch.empty_like(jac), torch.empty_like(lu), torch.empty_like(rows), torch.empty_like(singular),
    ),
)  # fmt: skip
_fake(
    "newton",
    lambda t, x, known, per, damp, factors, z, weights, rate, active, limit: (
        torch.empty_like(z), torch.empty_like(active), torch.empty_like(active, dtype=torch.int64), torch.empty_like(rate),
        torch.empty_like(rate),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Unrolled:
    """The dense structure as holes of the graph; see `linalg.structure.Structure`."""

    def empty(self, x: Tensor) -> Tensor:
        """Zeros (b, n, n)."""
        return torch.zeros_like(_matrix(x))

    def differentiate(self, f: Any, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """df/dx (b, n, n) and df/dt."""
        return torch.ops.odebridge.differentiate(f.clock(t), x)

    def factor(self, f: Any, jac: Tensor, shift: Tensor) -> Factors:
        """LU of shift I - J."""
        lu, singular = torch.ops.odebridge.factor(jac, shift)
        return Factors(lu, singular, singular)

    def renewed(
        self, f: Any, t: Tensor, x: Tensor, shift: Tensor, jac: Tensor, factors: Factors, anew: Tensor, moved: Tensor
    ) -> tuple[Tensor, Factors]:
        """J where `anew` says so, and factors where `moved` does."""
        jac, *parts = torch.ops.odebridge.renew(f.clock(t), x, shift, jac, *factors, anew, moved)
        return jac, Factors(*parts)

    def instead(self, mask: Tensor, new: Any, old: Any) -> Any:
        """`new` where the mask says so, which is rare: else what only `new` needs is not computed. What is held is in place."""
        chosen = tree_map(lambda a, b: a if a is b else torch.ops.odebridge.instead(mask, a, b), new, old)
        jac, (lu, rows, _), *_ = new.held
        factors = chosen.held.factors._replace(lu=lu, pivots=rows)
        return chosen._replace(held=chosen.held._replace(jac=jac, factors=factors))

    def solve(self, f: Any, factors: Factors, rhs: Tensor) -> Tensor:
        """By the factors."""
        return torch.ops.odebridge.solve(factors.lu, rhs)

    def norm(self, jac: Tensor) -> Tensor:
        """The largest row sum of |J|."""
        return jac.abs().sum(2).amax(1).double()

    def newton(
        self, correction: Any, z: Tensor, weights: Tensor, rate: Tensor, active: Tensor, limit: int
    ) -> tuple[Tensor, ...]:
        """The iteration of `methods.implicit.newton` as one hole."""
        c = correction
        moment = c.field.clock(c.moment)
        return torch.ops.odebridge.newton(moment, c.x, c.known, c.per, c.damp, c.factors.lu, z, weights, rate, active, limit)


@dataclass(frozen=True)
class LaneField:
    """The field as holes of the graph; a `core.protocols.System`."""

    tol: Tolerance
    window: tuple[Tensor, Tensor] | None = None
    structure: Unrolled = Unrolled()
    jacobian: Any = None
    mass: Any = None
    parts: Any = None

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        """f(t, x)."""
        return torch.ops.odebridge.field(self.clock(t), x)

    def clock(self, t: Tensor) -> Tensor:
        """The time at which the field is asked."""
        return t if self.window is None else torch.clamp(t, *self.window)

    def repeated(self, times: int) -> LaneField:
        """Never asked for: the graph has one trajectory."""
        raise NotImplementedError

    def take(self, index: Tensor) -> LaneField:
        """Never asked for either."""
        raise NotImplementedError


@contextmanager
def compiling() -> Generator[None]:
    """Methods and laws see that they are traced, and leave out their decisions on data."""
    flags: Any = torch.compiler
    before, flags._is_compiling_flag = flags._is_compiling_flag, True
    try:
        yield
    finally:
        flags._is_compiling_flag = before


class TryGraph(NamedTuple):
    """A traced try: the graph, where its outputs go, and which inputs it hands on unchanged."""

    graph: GraphModule
    names: tuple[str, ...]  # of the outputs beyond the lanes, in order
    shapes: tuple[tuple[int, ...], ...]  # of those, one trajectory each
    dtypes: tuple[torch.dtype, ...]
    lanes_out: int  # how many outputs belong to the lanes


def prepared(lanes: Lanes, method: Method) -> Lanes:
    """The lanes with a memory that holds no Jacobian yet, for methods that keep one and start with nothing."""
    if lanes.memory is not None or not isinstance(method, Dirk):
        return lanes
    x, b = lanes.x, len(lanes.t)
    jac, no = torch.zeros_like(_matrix(x)), torch.zeros_like(lanes.t, dtype=torch.bool)
    factors = Factors(torch.zeros_like(jac), torch.zeros_like(jac[:, 0], dtype=torch.int64), no)
    return lanes._replace(memory=Held(jac, factors, x.new_ones(b), no, no, torch.ones_like(lanes.t)))


def carried(lanes: Lanes) -> tuple[Any, ...]:
    """What of the lanes goes in and out of the kernel: all but args and ids."""
    return tuple(lanes._replace(ids=None, args=None))  # type: ignore[arg-type]


def _in_form(new: Lanes, now: Lanes) -> Lanes:
    """The lanes after the try. A method's memory of another form than before is one that it does not read when traced."""
    same = [v.shape for v in leaves(new.memory)] == [v.shape for v in leaves(now.memory)]
    return new if same else new._replace(memory=now.memory)


def trace_try(method: Method, law: StepController, after: Any, lanes: Lanes, max_steps: int, powers: bool) -> TryGraph:
    """`integrate.loops.attempt` for the first of these lanes as a graph, with the field and its derivatives as holes.

    powers: the interpolant of the step as well.
    """
    one = tree_map(lambda v: v[:1].detach().clone(), carried(lanes))
    limit = torch.full((1,), max_steps, dtype=torch.int64, device=lanes.x.device)
    notes: dict[str, Any] = {}

    def body(limit: Tensor, *flat: Tensor) -> tuple[Tensor, ...]:
        given = iter(flat)
        now = Lanes(*tree_map(lambda _: next(given), one))
        with compiling():
            new, tried = attempt(now, LaneField(now.tol, now.piece and now.piece.window), method, law, after, limit)  # type: ignore[arg-type]
            step = tried.step
            more: dict[str, Tensor] = {
                "kept": tried.kept, "t1": tried.t1, "dt": tried.dt, "x1": tried.x1, "slope1": tried.slope1,
                "error": tried.error, "weights": tried.weights,
            }  # fmt: skip
            if step.error is not None:
                more["estimate"] = step.error
            if step.found is not None:
                more["found"] = step.found
            if powers:
                more |= {"t0": tried.t0, "x0": tried.x0}
                h = tried.dt.to(tried.x0.dtype).reshape(-1, *(1,) * (tried.x0.dim() - 1))
                slope1 = torch.where(torch.isfinite(tried.slope1), tried.slope1, (tried.x1 - tried.x0) / h)
                rows = method.interpolant(tried.x0, tried.slope0, slope1, h, step._replace(x=tried.x1))
                if after is not None:
                    rows = (rows[0] + (tried.x1 - tried.x0 - sum(rows[1:], rows[0])), *rows[1:])
                more |= {f"power{i}": q for i, q in enumerate(rows)}
        state = leaves(carried(_in_form(new, now)))
        notes["names"], notes["lanes"] = tuple(more), len(state)
        notes["shapes"] = tuple(tuple(v.shape[1:]) for v in more.values())
        notes["dtypes"] = tuple(v.dtype for v in more.values())
        return (*state, *more.values())

    graph = traced(body, [limit, *leaves(one)])
    return TryGraph(graph, notes["names"], notes["shapes"], notes["dtypes"], notes["lanes"])
