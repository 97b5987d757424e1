"""A test problem as data: field, initial value, span, parameters, Jacobian, mass, reference end state and its source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from odebridge.core.arrays import on_arrays
from odebridge.core.shapes import tree_map
from odebridge.problems.arrays import Divided, NumpyProblem, is_singular, pattern_of
from odebridge.problems.checks import as_mass, as_parameters, as_span, as_sparsity, as_state, as_times


@dataclass(frozen=True, eq=False, repr=False)
class Problem:
    """M x'(t) = f(t, x(t)), x(t0) = x0, for one system or a batch of them; M is the identity unless `mass` says otherwise.

    field: f(t, x), or f(t, x, args) when there are args; x (b, n), t (b,) -> (b, n). It always sees a batch.
    x0: (n,) for one system, (b, n) for a batch of trajectories; lists and arrays become float64 tensors.
    span: (t0, t1) in either direction, numbers or (b,) tensors.
    args: a nest of tensors, without batch axis for one system, with leading dimension b for a batch; the field always sees
        them with leading dimension b. Plain numbers in the nest are passed on as they are.
    jacobian: same arguments as the field -> df/dx (b, n, n).
    reference: state at t1, float64, in the shape of x0; `digits` says how many of its digits are good, `source` whose they are.
    spread: how `sample` draws: a `Spread`, or any function (problem, b, generator) -> (x0, args) of b systems.
    mass: M, constant and the same for all trajectories, (n,) for a diagonal one or (n, n). A singular M makes a
        differential-algebraic system; it must be of index 1, and x0 must satisfy its algebraic equations.
    sparsity: where df/dx may be non-zero: (lower, upper) bandwidths in the given order of components, or a bool (n, n).
    discontinuities: times at which f or a low derivative of it jumps. At such a time f has the value it had before.
    Use: `ob.solve(ob.Problem(lambda t, x: -x, [1.0], (0.0, 1.0)))`.
    """

    field: Callable[..., Tensor]
    x0: Tensor
    span: tuple[Any, Any]
    args: Any = None
    jacobian: Callable[..., Tensor] | None = None
    _: KW_ONLY
    name: str = ""
    reference: Tensor | None = None
    source: str = ""
    digits: float | None = None
    stiff: bool = False
    spread: Callable[[Problem, int, torch.Generator], tuple[Tensor, Any]] | None = None
    mass: Tensor | None = None
    sparsity: Any = None
    discontinuities: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not callable(self.field):
            raise TypeError(f"Problem: field is {self.field!r}; write a function f(t, x) or f(t, x, args) that returns dx/dt.")
        if self.jacobian is not None and not callable(self.jacobian):
            raise TypeError(
                f"Problem: jacobian is a {type(self.jacobian).__name__}; write a function with the arguments of the field "
                "that returns df/dx of shape (b, n, n), or leave it out."
            )
        x0 = as_state("x0", self.x0)
        b = len(x0) if x0.dim() == 2 else None
        object.__setattr__(self, "x0", x0)
        object.__setattr__(self, "span", as_span(self.span, b))
        object.__setattr__(self, "args", as_parameters(self.args, b))
        if self.reference is not None:
            reference = as_state("reference", self.reference)
            if reference.shape != x0.shape:
                raise ValueError(
                    f"Problem: reference has shape {tuple(reference.shape)} and x0 {tuple(x0.shape)}; "
                    "the reference is the state at the end of the span, in the shape of x0."
                )
            object.__setattr__(self, "reference", reference.to(torch.promote_types(reference.dtype, torch.float64)))
        n = x0.shape[-1]
        object.__setattr__(self, "mass", as_mass(self.mass, x0))
        object.__setattr__(self, "sparsity", as_sparsity(self.sparsity, n))
        object.__setattr__(self, "discontinuities", as_times(self.discontinuities))

    def __repr__(self) -> str:
        t0, t1 = ("per trajectory" if isinstance(t, Tensor) else f"{t:g}" for t in self.span)
        name = self.name or getattr(self.field, "__name__", "field")
        batch = "" if self.single else f"b={len(self.x0)}, "
        return f"Problem({name!r}, {batch}n={self.x0.shape[-1]}, span=({t0}, {t1}))"

    @property
    def single(self) -> bool:
        """One system, x0 (n,), rather than a batch (b, n)."""
        return self.x0.dim() == 1

    def batched(self) -> Problem:
        """The same problem with a batch axis: of length one if it had none."""
        if not self.single:
            return self
        end = None if self.reference is None else self.reference[None]
        return replace(self, x0=self.x0[None], args=tree_map(lambda v: v[None], self.args), reference=end)

    def trajectory(self, i: int) -> Problem:
        """Trajectory i of a batch as one system."""
        if self.single:
            raise ValueError("Problem: trajectory(i) takes one out of a batch; this problem is one system already.")
        if not -len(self.x0) <= i < len(self.x0):
            raise ValueError(f"Problem: there is no trajectory {i}; choose one of 0 to {len(self.x0) - 1}.")
        span = tuple(float(t[i]) if isinstance(t, Tensor) else t for t in self.span)
        end = None if self.reference is None else self.reference[i]
        return replace(self, x0=self.x0[i], args=tree_map(lambda v: v[i], self.args), span=span, reference=end)

    def sample(self, b: int, seed: int = 0) -> Problem:
        """B systems of the same family, initial values and parameters drawn as `spread` says. The same seed, the same systems.

        The reference belongs to the nominal system, so the result has none.
        """
        if self.spread is None:
            raise ValueError(
                f"Problem: {self.name or 'this problem'} says nothing about its family, so sample has nothing to draw from; "
                "give it spread=Spread(x0_log=0.1, args_log=0.3) or a function of your own."
            )
        if not self.single:
            raise ValueError(
                f"Problem: sample draws around one system, and x0 has shape {tuple(self.x0.shape)}; pass x0 of shape (n,)."
            )
        if isinstance(b, bool) or not isinstance(b, int) or b < 1:
            raise ValueError(f"Problem: sample's b is {b!r}; write a whole number of trajectories, at least 1.")
        x0, args = self.spread(self, b, torch.Generator().manual_seed(seed))
        return replace(self, x0=x0, args=args, reference=None, digits=None)

    def to(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Problem:
        """The same in another dtype or on another device, the mass with it. The reference stays float64."""
        if dtype is not None and not (isinstance(dtype, torch.dtype) and (dtype.is_floating_point or dtype.is_complex)):
            raise TypeError(
                f"Problem: to() got dtype={dtype!r}; write a floating dtype such as torch.float32, and device=... by name."
            )

        def move(v: Any) -> Any:
            return v.to(device=device, dtype=dtype if v.is_floating_point() else None) if isinstance(v, Tensor) else v

        end = None if self.reference is None else self.reference.to(device=device)
        span = tuple(t.to(device=device) if isinstance(t, Tensor) else t for t in self.span)
        pattern = self.sparsity.to(device=device) if isinstance(self.sparsity, Tensor) else self.sparsity
        return replace(
            self,
            x0=move(self.x0),
            args=tree_map(move, self.args),
            span=span,
            reference=end,
            mass=move(self.mass),
            sparsity=pattern,
        )

    def as_numpy(self) -> NumpyProblem:
        """One system for SciPy, x' = M^-1 f, made from the same field and Jacobian, in float64.

        Component-wise fields run on Python floats (a few microseconds a call); any other goes through a batch of one in
        PyTorch, about a microsecond per operation. Raises ValueError for a singular mass, which SciPy cannot take.
        """
        if not self.single:
            raise ValueError(
                f"Problem: as_numpy is for one system, and x0 has shape {tuple(self.x0.shape)}; use problem.trajectory(i)."
            )
        if self.x0.is_complex():
            raise ValueError(
                "Problem: as_numpy is for real states, and x0 is complex; write real and imaginary parts as components."
            )
        one = self.to(torch.float64, "cpu").batched()
        mass = None if one.mass is None else one.mass.detach().numpy()
        if mass is not None and is_singular(mass):
            raise ValueError(
                f"Problem: {self.name or 'this problem'} has a singular mass, so it is a differential-algebraic system and not "
                "an ODE that as_numpy could write as x' = f; use a solver that takes M x' = f."
            )
        args = tree_map(lambda v: v.detach(), one.args)
        fun = on_arrays(self.field, args)
        jac = None if self.jacobian is None else on_arrays(self.jacobian, args)
        pattern = None if one.sparsity is None else pattern_of(one.sparsity, len(one.x0[0]))
        if mass is not None:
            fun, jac = Divided(fun, mass), None if jac is None else Divided(jac, mass)
            pattern = pattern if mass.ndim == 1 else None
        t0, t1 = (float(t) for t in self.span)
        y0 = one.x0[0].detach().numpy().copy()
        return NumpyProblem(fun, jac, y0, (t0, t1), pattern, self.discontinuities)
