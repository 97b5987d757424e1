"""States of several parts: tuples, lists, named tuples and dicts of tensors, laid out as one tensor (b, n) for the loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import wraps
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from odebridge.core.fields import Separable, Split
from odebridge.core.protocols import DepthField
from odebridge.core.result import Solution
from odebridge.core.shapes import leaves, tree_map
from odebridge.integrate.events import checked_events
from odebridge.integrate.save import At, Every


def is_nest(x0: Any) -> bool:
    """A tuple, list or dict that holds tensors with axes; nests of numbers are one tensor."""
    return isinstance(x0, (tuple, list, dict)) and any(v.dim() > 0 for v in leaves(x0))


@dataclass(frozen=True)
class Nest:
    """The form of a state of several parts, all of one dtype: part i is (b, *s_i), n the sum of their sizes."""

    form: Any  # a nest of tensors of the right shapes
    shapes: tuple[torch.Size, ...]  # *s_i

    def parts(self, x: Float[Tensor, "*lead n"]) -> Any:
        """The nest of x, each part (*lead, *s_i)."""
        split = iter(x.split([prod(s) for s in self.shapes], -1))
        shapes = iter(self.shapes)
        return tree_map(lambda _: next(split).reshape(*x.shape[:-1], *next(shapes)), self.form)

    def flat(self, name: str, tree: Any, like: Tensor | None = None) -> Float[Tensor, "b n"]:
        """A nest of this form as one tensor; `like` (b, n) says how many rows and which dtype it must have."""
        found = [v for _, v in _paired(name, self.form, tree)]
        for (path, part), shape in zip(_paired(name, self.form, tree), self.shapes, strict=True):
            rows = len(part) if part.dim() and like is None else 0 if like is None else len(like)
            if tuple(part.shape) != (rows, *shape):
                raise ValueError(f"{path}: has shape {tuple(part.shape)}, but this part of the state is {(rows, *shape)}.")
            if like is not None and part.dtype != like.dtype:
                raise TypeError(f"{path}: is {part.dtype}, but the state is {like.dtype}; give all parts one dtype.")
        return torch.cat([v.reshape(len(v), prod(s)) for v, s in zip(found, self.shapes, strict=True)], -1)


def _paired(path: str, form: Any, tree: Any) -> Iterator[tuple[str, Tensor]]:
    """Paths and leaves of a tree, in the order of the form; a sentence where they differ."""
    if isinstance(form, Tensor):
        if not isinstance(tree, Tensor):
            raise TypeError(f"{path}: must be a tensor, got {type(tree).__name__}.")
        yield path, tree
    elif isinstance(form, dict):
        if not isinstance(tree, dict) or tree.keys() != form.keys():
            got = sorted(map(str, tree)) if isinstance(tree, dict) else type(tree).__name__
            raise TypeError(f"{path}: must be a dict with the keys of the state, {sorted(map(str, form))}, got {got}.")
        for key, part in form.items():
            yield from _paired(f"{path}[{key!r}]", part, tree[key])
    else:
        if not isinstance(tree, (tuple, list)) or len(tree) != len(form):
            got = f"{len(tree)} parts" if isinstance(tree, (tuple, list)) else type(tree).__name__
            raise TypeError(f"{path}: must be a nest like the state, of {len(form)} parts here, got {got}.")
        for i, (part, value) in enumerate(zip(form, tree, strict=True)):
            yield from _paired(f"{path}[{i}]", part, value)


def _entries(path: str, tree: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, part in tree.items():
            yield from _entries(f"{path}[{key!r}]", part)
    elif isinstance(tree, (tuple, list)):
        for i, part in enumerate(tree):
            yield from _entries(f"{path}[{i}]", part)
    else:
        yield path, tree


def nest_of(x0: Any) -> tuple[Nest, Tensor]:
    """The form of x0 and x0 as (b, n); TypeError or ValueError in a sentence."""
    first: Tensor | None = None
    for path, part in _entries("x0", x0):
        if not isinstance(part, Tensor):
            raise TypeError(f"{path}: all parts of the state must be tensors (b, ...), got {type(part).__name__}.")
        first = part if first is None else first
        if part.dim() == 0 or len(part) != len(first):
            raise ValueError(
                f"{path}: has shape {tuple(part.shape)}; every part has the trajectories first, ({len(first)}, ...)."
            )
        if part.dtype != first.dtype or part.device != first.device:
            raise TypeError(
                f"{path}: is {part.dtype} on {part.device} and the first part {first.dtype} on {first.device}; give all one."
            )
    nest = Nest(tree_map(Tensor.detach, x0), tuple(v.shape[1:] for v in leaves(x0)))
    return nest, nest.flat("x0", x0)


def flattened(field: Any, x0: Any, options: dict[str, Any]) -> tuple[Nest, Any, Tensor, dict[str, Any]]:
    """The solve of a nest as one of a tensor: its form, and field, x0 and keywords that the loops take."""
    nest, x = nest_of(x0)
    options = dict(options)
    if options.get("jacobian") is not None:
        raise ValueError("jacobian: is df/dx of one tensor x (b, n); with a state of several parts leave it out.")
    after, nonnegative, atol = (options.get(k) for k in ("after", "nonnegative", "atol"))
    if callable(after):
        options["after"] = lambda y: nest.flat("after", after(nest.parts(y)), y)
    if isinstance(nonnegative, (tuple, list, dict)):
        options["nonnegative"] = _marks(nest, nonnegative)
    if isinstance(atol, (tuple, list, dict)):
        options["atol"] = _atol(nest, atol, x)
    if "events" in options:
        conditions = ((e, e.condition) for e in checked_events(options["events"]))
        options["events"] = tuple(replace(e, condition=_of_parts(nest, c)) for e, c in conditions)
    save = options.get("save")
    if isinstance(save, (At, Every)) and callable(save.of):
        options["save"] = replace(save, of=_of_parts(nest, save.of))
    return nest, _flat_field(nest, field), x, options


def _of_parts(nest: Nest, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def of_tensor(t: Any, x: Tensor, *args: Any) -> Any:
        return function(t, nest.parts(x), *args)

    return of_tensor


def _flat_field(nest: Nest, field: Any) -> Any:
    if isinstance(field, Split):
        return Split(_flat_field(nest, field.stiff), _flat_field(nest, field.nonstiff))
    if isinstance(field, (Separable, DepthField)):
        raise TypeError(f"field: {type(field).__name__} takes a state that is one tensor, not a nest of several parts.")
    if not callable(field):
        return field
    return lambda t, x, *args: nest.flat("field", field(t, nest.parts(x), *args), x)


def _marks(nest: Nest, given: Any) -> Tensor:
    marks = [torch.as_tensor(v) for _, v in _entries("nonnegative", given)]
    if len(marks) != len(nest.shapes) or any(m.dtype != torch.bool for m in marks):
        raise TypeError(f"nonnegative: give a bool for each of the {len(nest.shapes)} parts of the state, got {given!r}.")
    for m, s in zip(marks, nest.shapes, strict=True):
        if m.dim() and m.shape != s:
            raise ValueError(f"nonnegative: must have the shape of one state, {tuple(s)} in this part, got {tuple(m.shape)}.")
    return torch.cat([m.expand(s).reshape(-1) for m, s in zip(marks, nest.shapes, strict=True)])


def _atol(nest: Nest, given: Any, x: Tensor) -> Tensor:
    parts = list(_entries("atol", given))
    if len(parts) != len(nest.shapes):
        raise TypeError(f"atol: give one number, or a nest like the state with {len(nest.shapes)} parts, got {len(parts)}.")
    rows = []
    for (path, value), shape in zip(parts, nest.shapes, strict=True):
        if isinstance(value, (str, bool)) or value is None:
            raise TypeError(f"{path}: must be a number or a tensor, got {value!r} of type {type(value).__name__}.")
        v = torch.as_tensor(value, dtype=torch.float64, device=x.device)
        full = (len(x), *shape)
        if v.dim() and (v.dim() != len(full) or any(m not in (1, n) for m, n in zip(v.shape, full, strict=True))):
            raise ValueError(
                f"{path}: must be a number or broadcast against this part of the state, {full}, got {tuple(v.shape)}."
            )
        rows.append(v.expand(full).reshape(len(x), prod(shape)))
    return torch.cat(rows, 1)


def in_parts(nest: Nest, sol: Solution, of_state: bool) -> Solution:
    """The solution with nests for its states; `of_state`: xs holds states, not a function of them."""
    dense = sol.dense
    return replace(
        sol,
        x1=nest.parts(sol.x1),
        xs=nest.parts(sol.xs) if sol.xs is not None and of_state else sol.xs,
        dense=None if dense is None else lambda t: nest.parts(dense(t)),
        events=tuple(e._replace(xs=nest.parts(e.xs)) for e in sol.events),
    )
