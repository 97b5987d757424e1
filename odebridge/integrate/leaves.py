"""Which tensors that need a gradient a field uses, whether they are arguments, parameters or hidden in a closure."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

DEEP = 4  # how many functions or objects are looked through
SIMPLE = (Tensor, type, types.ModuleType, types.BuiltinFunctionType, str, bytes, int, float, complex, type(None))


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
    seen: set[int] = set()
    things = [field]
    for _ in range(DEEP):
        parts: list[Any] = []
        for thing in things:
            if id(thing) not in seen and not isinstance(thing, SIMPLE):
                seen.add(id(thing))
                parts += _parts(thing)
        if any(isinstance(v, Tensor) and v.requires_grad for v in parts):
            return True
        things = parts
    return False


def _parts(thing: Any) -> Iterable[Any]:
    """What an object holds."""
    if isinstance(thing, dict):
        return thing.values()
    if isinstance(thing, (tuple, list, set, frozenset)):
        return thing
    if isinstance(thing, types.FunctionType):
        return _captured(thing)
    if isinstance(thing, functools.partial):
        return thing.func, thing.args, thing.keywords
    if isinstance(thing, types.MethodType):
        return thing.__self__, thing.__func__
    own = [v for k, v in getattr(thing, "__dict__", {}).items() if k not in ("_parameters", "_buffers", "_modules")]
    return [*thing.parameters(), *thing.buffers(), *own] if isinstance(thing, nn.Module) else own


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
