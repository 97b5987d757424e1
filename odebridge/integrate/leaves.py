"""Which tensors that need a gradient a field uses, whether they are arguments, parameters or hidden in a closure."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

DEEP = 4  # how many functions or objects are looked through


def reached(out: Tensor) -> list[Tensor]:
    """The leaves that the graph of `out` ends in, each once, in the order met."""
    found: dict[int, Tensor] = {}
    seen, todo = set(), [out.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None:
            found[id(variable)] = variable
        todo += [parent for parent, _ in node.next_functions]
    if out.is_leaf and out.requires_grad:
        found[id(out)] = out
    return list(found.values())


def hides_leaves(field: Any) -> bool:
    """May a call of `field` need a gradient: does it own, capture or name a tensor or module that requires one.

    The first slope tells only of what is used at the start; a parameter that enters later is found here.
    """
    return any(t.requires_grad for t in _tensors(field, DEEP, set()))


def _tensors(thing: Any, depth: int, seen: set[int]) -> Iterator[Tensor]:
    if isinstance(thing, Tensor):
        yield thing
        return
    if depth == 0 or id(thing) in seen or isinstance(thing, (type, types.ModuleType, str, bytes, int, float, complex)):
        return
    seen.add(id(thing))
    if isinstance(thing, nn.Module):
        yield from thing.parameters()
        yield from thing.buffers()
    if isinstance(thing, dict):
        parts = list(thing.values())
    elif isinstance(thing, (tuple, list, set, frozenset)):
        parts = list(thing)
    elif isinstance(thing, functools.partial):
        parts = [thing.func, thing.args, thing.keywords]
    elif isinstance(thing, types.MethodType):
        parts = [thing.__self__, thing.__func__]
    elif isinstance(thing, types.FunctionType):
        parts = _captured(thing)
    else:
        parts = [v for k, v in getattr(thing, "__dict__", {}).items() if k not in ("_parameters", "_buffers", "_modules")]
    for part in parts:
        yield from _tensors(part, depth - 1, seen)


def _captured(function: types.FunctionType) -> list[Any]:
    """Closure, defaults and the globals that a function names."""
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(cell.cell_contents)
        except ValueError:  # not bound yet
            continue
    names = [function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__]
    return [*cells, *(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values(), *names]


@torch.enable_grad()
def leaves_of(field: Any, t: Tensor, x: Tensor) -> list[Tensor]:
    """The leaves that one call of a field reaches beside t and x, found by one pass with a graph."""
    out = field(t.detach(), x.detach())
    return reached(out) if out.requires_grad else []
