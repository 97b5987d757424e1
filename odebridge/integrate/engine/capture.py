"""The user's functions as graphs: Dynamo captures them, guards what they read, and says when they have changed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from odebridge.core.shapes import leaves
from odebridge.integrate.engine.scalars import Unsupported

VERSIONS = 64  # graphs of one function with different Python values in it before it is given up


def traced(function: Callable[..., Any], inputs: list[Any]) -> GraphModule:
    """The core aten operations of a function of tensors."""
    # Heavy, and of no use to those who compile nothing.
    from torch._decomp import core_aten_decompositions
    from torch.fx.experimental.proxy_tensor import make_fx

    table: Any = core_aten_decompositions()
    for op in (torch.ops.aten.eye.default, torch.ops.aten.eye.m):  # made of uint8 numbers there
        table.pop(op, None)
    with torch.no_grad():
        make = make_fx(function, tracing_mode="fake", decomposition_table=table, _allow_non_fake_inputs=True)
        return make(*inputs)


@dataclass
class Captured:
    """A function of tensors as it is now: its graph, and the tensors that it read besides its arguments.

    `given` holds, for every input of the graph, the number of the argument leaf it is, or the tensor itself.
    """

    graph: Graph
    given: tuple[Any, ...]


@dataclass(eq=False)
class Graph:
    """One graph, the same object as long as Dynamo's guards hold; `aten` lowers it when it is first needed."""

    module: GraphModule
    lowered: GraphModule | None = None
    kept: dict[Any, Any] = field(default_factory=dict)  # what is made of it

    def aten(self, inputs: list[Any]) -> GraphModule:
        """Aten operations without mutation or views."""
        if self.lowered is None:
            self.lowered = traced(torch.func.functionalize(self.module, remove="mutations_and_views"), inputs)
        return self.lowered


_seen = threading.local()
_compiled: dict[Any, Callable[..., Any]] = {}


def _backend(module: GraphModule, _: list[Any]) -> Callable[..., Any]:
    graph = Graph(module)
    once: list[Any] = []  # what came out the first time: later calls are made for the guards and the inputs alone

    def run(*inputs: Any) -> Any:
        _seen.graph, _seen.inputs = graph, inputs
        if not once:
            once.append(module(*inputs))
        return once[0]

    return run


def _template(function: Any, given: Any) -> Any:
    return function(*given)


def _wrapper(function: Any) -> Callable[..., Any]:
    """A caller of its own for each function's code, so that one function's versions do not use up another's cache."""
    held = vars(function).values() if hasattr(function, "__dict__") else ()
    key = getattr(function, "__code__", None) or (type(function), *(v.__code__ for v in held if hasattr(v, "__code__")))
    if key not in _compiled:
        name = f"call_{len(_compiled)}"
        code: CodeType = _template.__code__.replace(co_name=name)
        fresh = FunctionType(code, _template.__globals__, name)
        _compiled[key] = torch.compile(fresh, backend=_backend, fullgraph=True, dynamic=False)
    return _compiled[key]


def captured(function: Callable[..., Any], given: tuple[Any, ...]) -> Captured:
    """What `function(*given)` computes, from one call of it. Unsupported, with the reason, where it does not trace."""
    from torch._dynamo import config, exc  # more than a second, for those who compile only

    wrapper = _wrapper(function)
    _seen.graph = None
    try:
        with torch.no_grad():
            try:
                out = wrapper(function, given)
            except exc.FailOnRecompileLimitHit:  # patching takes a while: not for those that have their graph
                with config.patch(recompile_limit=VERSIONS, accumulated_recompile_limit=10 * VERSIONS):
                    out = wrapper(function, given)
    except Exception as error:
        raise Unsupported(f"it does not trace ({reason(error)})") from error
    graph, inputs = _seen.graph, _seen.inputs if _seen.graph is not None else ()
    if graph is None or not isinstance(out, Tensor):
        raise Unsupported("it computes nothing with tensors")
    arguments = leaves(given)
    places = {id(v): i for i, v in enumerate(arguments)}
    _seen.inputs = None
    return Captured(graph, tuple(places.get(id(v), v) for v in inputs))


def reason(error: BaseException) -> str:
    """The first line that tells something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "Explanation:" in line]
    line = (named or lines or [type(error).__name__])[0].removeprefix("Explanation:").strip()
    return line if len(line) < 160 else line[:157] + "..."
