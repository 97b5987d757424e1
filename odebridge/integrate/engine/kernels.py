"""Kernels by what they were made for: the same solver and the same field find theirs again, and only tensors are new."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from odebridge.core.protocols import Method, StepController
from odebridge.core.shapes import leaves, take
from odebridge.integrate.engine.assemble import Assembler
from odebridge.integrate.engine.capture import Captured, captured
from odebridge.integrate.engine.source import Source
from odebridge.integrate.engine.traced import TryGraph, carried, trace_try
from odebridge.integrate.limits import Nonnegative
from odebridge.integrate.loops import Lanes
from odebridge.integrate.system import BoundField


@dataclass
class Kernel:
    """Source, what launchers have compiled of it, and what the outputs are."""

    source: Source
    graph: TryGraph
    runs: dict[Any, Any]

    def run(self, form: Any, make: Callable[[Kernel], Any]) -> Any:
        """The compiled function in one form, such as a number of trajectories side by side; made where it is new."""
        if form not in self.runs:
            self.runs[form] = make(self)
        return self.runs[form]


@dataclass
class Bound:
    """A kernel with the tensors that the user's functions hold now, on the device where it runs."""

    kernel: Kernel
    uniforms: list[Tensor]
    table: Tensor


_tries: dict[Any, TryGraph] = {}
_names: dict[int, Any] = {}  # of settings that never change
_held: dict[int, Any] = {}  # what the keys name by identity must live as long as they do


def name_of(value: Any) -> Any:
    """Something hashable that is equal for settings that trace alike: values where they are plain, identity elsewhere."""
    if id(value) in _names:
        return _names[id(value)]
    name = _name_of(value)
    if _constant(value):
        _names[id(value)], _held[id(value)] = name, value
    return name


def _constant(value: Any) -> bool:
    """Frozen dataclasses, tuples and plain values through and through: their name never changes."""
    if hasattr(value, "traces_as"):
        return False
    if is_dataclass(value) and not isinstance(value, type):
        frozen = getattr(type(value), "__dataclass_params__").frozen  # noqa: B009 - no attribute that type checkers know
        return frozen and all(_constant(getattr(value, f.name)) for f in fields(value))
    if isinstance(value, tuple):
        return all(_constant(v) for v in value)
    return isinstance(value, (int, float, str, bool, type(None)))


def _name_of(value: Any) -> Any:
    if isinstance(value, (int, float, str, bool, type(None))):
        return type(value).__name__, value
    if hasattr(value, "traces_as"):  # numbers that travel in its memory make no other kernel
        return type(value), name_of(value.traces_as)
    if isinstance(value, (tuple, list)):
        return type(value).__name__, *(name_of(v) for v in value)
    if is_dataclass(value) and not isinstance(value, type):
        return type(value), *(name_of(getattr(value, f.name)) for f in fields(value))
    _held[id(value)] = value
    if isinstance(value, nn.Module):
        plain = [(k, v) for m in value.modules() for k, v in vars(m).items() if isinstance(v, (int, float, str, bool))]
        tensors = [id(v) for v in (*value.parameters(), *value.buffers())]
        return id(value), tuple(plain), tuple(tensors)
    return id(value), tuple((k, name_of(v)) for k, v in sorted(getattr(value, "__dict__", {}).items()))


def bound_kernel(
    lanes: Lanes, f: BoundField, method: Method, law: StepController, after: Any, max_steps: int, powers: bool
) -> Bound:
    """The kernel for these lanes; Unsupported with a reason where there is none."""
    user_after = after.after if isinstance(after, Nonnegative) else after
    one = torch.zeros(1, dtype=torch.int64, device=lanes.x.device)
    x, t, args = lanes.x[:1].detach().clone(), lanes.t[:1].to(lanes.x.dtype), take(f.args, one)
    more = () if f.args is None else (args,)
    given: dict[str, tuple[Any, ...]] = {"field": (t, x, *more)}
    functions: dict[str, Captured] = {"field": captured(f.field, given["field"])}
    if f.user_jacobian is not None:
        given["jacobian"] = (t, x.flatten(1), *more)
        functions["jacobian"] = captured(f.user_jacobian, given["jacobian"])
    if user_after is not None:
        given["after"] = (x,)
        functions["after"] = captured(user_after, given["after"])

    state = leaves(carried(lanes))
    marked = tuple(after.marked.reshape(-1).tolist()) if isinstance(after, Nonnegative) else None
    form = tuple((v.shape[1:], v.dtype) for v in state)
    device = lanes.x.device
    key = (name_of(method), name_of(law), form, marked, user_after is not None, powers, device)
    if key not in _tries:
        stand_in = None if after is None else _after if marked is None else Nonnegative(after.marked, user_after and _after)
        _tries[key] = trace_try(method, law, stand_in, lanes, max_steps, powers)
    graph = _tries[key]

    own = (key, tuple(id(functions[k].graph) for k in functions), tuple((v.shape[1:], v.dtype) for v in leaves(f.args)))
    kernels = functions["field"].graph.kept
    kernel = kernels.get(own)
    if kernel is None or not _as_baked(kernel.source, functions):
        arguments = {k: leaves(v) for k, v in given.items()}
        source = Assembler(functions, arguments, lanes.x, leaves(f.args)).build(graph, state)
        kernel = kernels[own] = Kernel(source, graph, {})
        _held.update((id(c.graph), c.graph) for c in functions.values())
    pointed = kernel.source.uniforms.tensors
    tensors = [v if isinstance(v, Tensor) else functions[v[0]].given[v[1]] for v in pointed]
    table = torch.tensor(kernel.source.table or [0.0], dtype=torch.float64, device=device)
    return Bound(kernel, [v.detach().to(device).contiguous() for v in tensors], table)


def _after(x: Tensor) -> Tensor:
    return torch.ops.odebridge.after(x)


def _as_baked(source: Source, functions: dict[str, Captured]) -> bool:
    """Are the integer tensors still those that were written into the program."""
    return all(torch.equal(functions[k].given[i], kept) for k, i, kept in source.uniforms.baked)
