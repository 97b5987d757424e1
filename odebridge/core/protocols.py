"""Field, Observation, Step, Method, StepController: the one page to read first.

A solver and a residual network are one loop with different parts plugged in. The loop asks the controller
one question, "how far from here?", shows it everything that is known (`Observation`), and hands the answer to
the method, which tries the step (`Step`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

if TYPE_CHECKING:
    from odebridge.core.tolerance import Tolerance

# f(t, x) -> dx/dt with x (b, *s) and t (b,); row i of the output may depend on row i of the inputs only.
Field = Callable[[Any, Tensor], Tensor]
# jacobian(t, x) -> df/dx with x (b, n), returns (b, n, n): entry [k, i, j] is df_i/dx_j of trajectory k.
Jacobian = Callable[[Any, Tensor], Tensor]


class System(Protocol):
    """A field bound to its arguments, as the methods see it: M x' = f(t, x)."""

    def __call__(self, t: Any, x: Tensor) -> Tensor:
        """f(t, x), (b, *s)."""
        ...

    def repeated(self, times: int) -> System:
        """The same field for the whole batch `times` over, one copy after the other."""
        ...

    def take(self, index: Tensor) -> System:
        """The same field for the trajectories `index` (k,)."""
        ...

    @property
    def jacobian(self) -> Jacobian | None:
        """The user's df/dx or None."""
        ...

    @property
    def mass(self) -> Tensor | None:
        """M, (n,) for a diagonal one or (n, n), in the dtype of x; None: the identity."""
        ...

    @property
    def tol(self) -> Tolerance | None:
        """Tolerances in force, which Newton's iteration uses too; None on a grid."""
        ...

    @property
    def structure(self) -> Any:
        """How df/dx is held and a M - df/dx solved with: a `linalg.structure.Structure`."""
        ...

    @property
    def derivatives(self) -> int:
        """How often what a search has found must be differentiable: 1 or 2."""
        ...

    @property
    def parts(self) -> tuple[Field, Field] | None:
        """The two fields of a `Split` or `Separable` field, else None."""
        ...


class DepthField(nn.Module):
    """A field whose clock is the depth of a network.

    On a grid it is called with a Python float instead of a (b,) tensor, so that choosing a layer by depth is not
    a decision on data and the loop compiles to one graph.
    """

    def forward(self, t: float, x: Tensor) -> Tensor:
        """f(t, x): the increment of the layer at depth t; x (b, *s), returns (b, *s)."""
        raise NotImplementedError


class Counts(NamedTuple):
    """What one step costs, or what a solve has cost, per trajectory: integers or (b,) integer tensors."""

    accepted: Any = 0
    rejected: Any = 0
    f_evals: Any = 0
    jacobians: Any = 0
    factorisations: Any = 0
    solves: Any = 0
    newton_iterations: Any = 0


class StagePair(NamedTuple):
    """The stage before the last one where both sit at the end of the step: with the last it shows the stiffness for free."""

    x: Float[Tensor, "b *s"]
    slope: Float[Tensor, "b *s"]


class Tried(NamedTuple):
    """The last try, for laws that read more than one number. Nothing here costs an extra f evaluation."""

    x0: Float[Tensor, "b *s"]  # state before
    x1: Float[Tensor, "b *s"]  # state after, also when the try was rejected
    slope0: Float[Tensor, "b *s"]  # f at the start
    slope1: Float[Tensor, "b *s"]  # f at the end
    error: Float[Tensor, "b *s"]  # estimate of the local error, unscaled
    weights: Float[Tensor, "b *s"]  # atol + rtol max(|x0|, |x1|): what the error was divided by
    extra: Any = None  # what the method can tell for free: a `StagePair`, J (b, n, n) ...


class Observation(NamedTuple):
    """Everything a controller may look at. Adding a field breaks nobody.

    Use: `h = seen.h * 0.9 * seen.error ** (-1 / (seen.order + 1))`, the integral law over a span.
    """

    n: int | Int[Tensor, " b"]  # number of this step: a layer index on a Grid, tries so far (b,) over a Span
    t: float | Float[Tensor, " b"]  # clock at its start
    x: Float[Tensor, "b *s"]  # state
    slope: Float[Tensor, "b *s"]  # f(t, x)
    h: float | Float[Tensor, " b"]  # suggested size: the last one tried (Span, always positive), the spacing (Grid)
    error: Float[Tensor, " b"] | None = None  # scaled error of the last try, 1 = at tolerance; None = never measured
    accepted: Bool[Tensor, " b"] | None = None  # was the last try kept
    order: int | Int[Tensor, " b"] | None = None  # order of the error estimate: error ~ h^(order + 1)
    tol: Tolerance | None = None  # tolerances in force (Span)
    t1: float | Float[Tensor, " b"] | None = None  # end of the span
    last: Tried | None = None  # the last try itself


class Step(NamedTuple):
    """The outcome of one try."""

    x: Float[Tensor, "b *s"]  # state at the end
    error: Float[Tensor, "b *s"] | None = None  # estimate of the local error; None if the method has none
    slope: Float[Tensor, "b *s"] | None = None  # f at the end, where it comes for free (FSAL)
    memory: Any = None  # what the method remembers if the step is kept
    retry: Any = None  # what it remembers if the step is tried again from the same point
    stages: Any = None  # what its interpolant needs
    trouble: Int[Tensor, " b"] | None = None  # a `Result` code where the try is unusable (singular matrix ...), else OK
    cost: Counts = Counts()  # what each trajectory needed
    extra: Any = None  # passed on as `Tried.extra`
    found: Any = None  # what was found by search (stages by Newton, an order): tensors (b, ...), for `Searching.replay`
    order: Int[Tensor, " b"] | None = None  # order of the error estimate where it differs between trajectories
    ahead: Float[Tensor, "b *s"] | None = None  # the error that the next step is sized by, where it is not the one judged


class Method(Protocol):
    """How one step is made. Frozen settings; all memory goes in and out of `step`. States are (b, *s), clocks (b,)."""

    @property
    def name(self) -> str:
        """Name in the catalogue."""
        ...

    @property
    def order(self) -> int:
        """Order of the solution that is carried on."""
        ...

    @property
    def error_order(self) -> int | None:
        """Order of the error estimate, error ~ h^(error_order + 1); None: the method has no estimate."""
        ...

    @property
    def dense_order(self) -> int:
        """Order of the interpolant."""
        ...

    @property
    def law(self) -> str:
        """Name of the classical controller that suits the method."""
        ...

    def start(self, field: System, t: Any, x: Tensor) -> Any:
        """Memory for one solve: tensors with leading dimension b in any nesting, or None."""
        ...

    def step(self, field: System, t: Any, x: Tensor, dt: Any, h: Any, slope: Tensor, memory: Any) -> Step:
        """Try one step: dt (a float or (b,)) moves the clock, h (whatever multiplies x) scales the increment."""
        ...

    def interpolant(self, x0: Tensor, slope0: Tensor, slope1: Tensor, h: Any, step: Step) -> tuple[Tensor, ...]:
        """Coefficients (q_1, ..., q_d), (b, *s) each, of x(t + s dt) = x0 + q_1 s + ... + q_d s^d for 0 <= s <= 1."""
        ...


class Searching(Method, Protocol):
    """A method that finds something by search: a try can be made again, with a graph, without searching."""

    def replay(self, field: System, t: Any, x: Tensor, dt: Any, h: Any, slope: Tensor, memory: Any, found: Any) -> Step:
        """The same step as `step`, in value to the bit, from what it has found; differentiable in everything else."""
        ...


class StepController(Protocol):
    """Answers one question: how far from here?

    start(x, tol) -> memory for states x (b, *s); law(seen, memory) -> (h, memory); accepts(error, memory) -> (b,) bools.
    Derive from `ob.control.Controller`, which has a `start` and an `accepts`, and write the call. docs/extending.md has one.
    """

    def start(self, x: Tensor, tol: Tolerance | None) -> Any:
        """Memory for one solve: tensors with leading dimension b in any nesting, or None."""
        ...

    def __call__(self, seen: Observation, memory: Any) -> tuple[Any, Any]:
        """The size of the next step and the new memory.

        Over a Span: a positive (b,). On a Grid: a float or any shape that multiplies x; it scales the increment.
        """
        ...

    def accepts(self, error: Tensor, memory: Any) -> Tensor:
        """Which tries are kept (b,), given their scaled errors (b,)."""
        ...
