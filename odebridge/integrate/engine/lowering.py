"""Aten graphs of one trajectory as straight-line programs: every tensor becomes an array of scalars."""

# ruff: noqa: ARG001, ARG005 - the rules share one signature
from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.node import map_arg

from odebridge.integrate.engine.elementwise import COMPARED, ELEMENTWISE
from odebridge.integrate.engine.scalars import Program, Scalar, Unsupported

KINDS = {torch.float64: "f64", torch.float32: "f32", torch.int64: "i64", torch.bool: "b", torch.int32: "i64"}
LARGEST = 4096  # entries of a tensor of one trajectory
Array = Any  # numpy array of Scalar
Hole = Callable[..., Any]


def kind_of(dtype: torch.dtype) -> str:
    """The kind of scalars of a dtype."""
    if dtype not in KINDS:
        raise Unsupported(f"it has tensors of {dtype}")
    return KINDS[dtype]


class Lowering:
    """Runs a graph on arrays of scalars.

    holes: what `odebridge::name` stands for; uniform: the scalars of a captured tensor.
    """

    def __init__(self, program: Program, uniform: Callable[[Tensor], Array], holes: dict[str, Hole] | None = None) -> None:
        self.program, self.uniform, self.holes = program, uniform, holes or {}

    def __call__(self, graph: GraphModule, inputs: Sequence[Array]) -> list[Array]:
        """The outputs of the graph for these inputs."""
        values: dict[Any, Any] = {}
        given = iter(inputs)
        for node in graph.graph.nodes:
            if node.op == "placeholder":
                values[node] = next(given)
            elif node.op == "get_attr":
                values[node] = self.uniform(_attribute(graph, str(node.target)))
            elif node.op == "output":
                return [values[n] for n in node.args[0]]
            else:
                args = map_arg(node.args, lambda n: values[n])
                kwargs = map_arg(node.kwargs, lambda n: values[n])
                values[node] = self._run(node, args, kwargs)
        raise Unsupported("its graph has no output")

    def _run(self, node: Any, args: Any, kwargs: Any) -> Any:
        if node.target is operator.getitem:
            return args[0][args[1]]
        name = str(node.target)
        if name.startswith("odebridge."):
            return self.holes[name.split(".")[1]](*args)
        base = name.split(".")[1]
        if base not in ELEMENTWISE and base not in SHAPES:
            base = base.removesuffix("_copy")  # what a view becomes where nothing is changed in place
        meta = node.meta.get("val")
        if isinstance(meta, Tensor):
            if meta.numel() > LARGEST:
                raise Unsupported(f"it makes tensors of {meta.numel()} numbers for one trajectory")
            if base in ELEMENTWISE:
                return self._elementwise(base, meta.dtype, node, args, kwargs)
        if base not in SHAPES:
            raise Unsupported(f"the kernel generator does not know the operation {base}")
        out = SHAPES[base](self, meta, *args, **kwargs)
        return [_whole(v) for v in out] if isinstance(out, list) else _whole(out)

    def _elementwise(self, base: str, dtype: torch.dtype, node: Any, args: Any, kwargs: Any) -> Array:
        kind = kind_of(dtype)
        if base in COMPARED:
            seen = [n.meta["val"] if hasattr(n, "meta") else n for n in node.args[:2]]
            kind = kind_of(torch.result_type(*seen) if len(seen) == 2 else seen[0].dtype)
        arrays = [self.array(a) for a in args]
        p, rule = self.program, ELEMENTWISE[base]

        def one(*scalars: Scalar) -> Scalar:
            return rule(p, kind, *scalars, **kwargs)

        return _mapped(one, *arrays)

    def array(self, value: Any) -> Any:
        """A number as an array of one scalar; arrays and None as they are."""
        if value is None or isinstance(value, np.ndarray):
            return value
        kind = "b" if isinstance(value, bool) else "i64" if isinstance(value, int) else "f64"
        out = np.empty((), dtype=object)
        out[()] = self.program.const(value, kind)
        return out

    def full(self, shape: Sequence[int], value: Any, dtype: torch.dtype) -> Array:
        """An array of one written number."""
        out = np.empty(tuple(shape), dtype=object)
        out.fill(self.program.const(value, kind_of(dtype)))
        return out


def _whole(value: Any) -> Array:
    """An array also where numpy hands out the only entry itself."""
    if not isinstance(value, Scalar):
        return value
    out = np.empty((), dtype=object)
    out[()] = value
    return out


def _attribute(graph: GraphModule, path: str) -> Any:
    value: Any = graph
    for part in path.split("."):
        value = getattr(value, part)
    return value


def _mapped(one: Callable[..., Scalar], *arrays: Array) -> Array:
    some = [a for a in arrays if a is not None]
    wide = iter(np.broadcast_arrays(*some))
    wide_all = [None if a is None else next(wide) for a in arrays]
    shape = next(w for w in wide_all if w is not None).shape
    out = np.empty(shape, dtype=object)
    for index in np.ndindex(shape):
        out[index] = one(*(None if w is None else w[index] for w in wide_all))
    return out


def _axes(a: Array, dims: Any) -> tuple[int, ...]:
    if dims is None or (isinstance(dims, (tuple, list)) and not dims):
        return tuple(range(a.ndim))
    return tuple(d % a.ndim for d in ([dims] if isinstance(dims, int) else dims)) if a.ndim else ()


def _reduced(op: str, scale: bool = False) -> Callable[..., Array]:
    def run(low: Lowering, meta: Tensor, a: Array, dims: Any = None, keep: bool = False, **_: Any) -> Array:
        axes, p, kind = _axes(a, dims), low.program, kind_of(meta.dtype)
        rest = [i for i in range(a.ndim) if i not in axes]
        rows = np.transpose(a, [*rest, *axes]).reshape([a.shape[i] for i in rest] + [-1])
        out = np.empty(rows.shape[:-1], dtype=object)
        for index in np.ndindex(out.shape):
            terms = [p.cast(v, kind) for v in rows[index]]
            if not terms:
                raise Unsupported("it reduces empty tensors")
            total = terms[0]
            for term in terms[1:]:
                total = p.apply(op, total, term)
            out[index] = p.apply("div", total, p.const(len(terms), kind)) if scale else total
        return out.reshape(tuple(meta.shape))

    return run


def _softmax(log: bool) -> Callable[..., Array]:
    def run(low: Lowering, meta: Tensor, a: Array, dim: int, *_: Any) -> Array:
        p, rows = low.program, np.moveaxis(a, dim, -1)
        out = np.empty(rows.shape, dtype=object)
        for index in np.ndindex(rows.shape[:-1]):
            top, total = rows[index][0], p.const(0, rows[index][0].kind)
            for v in rows[index][1:]:
                top = p.apply("max", top, v)
            shifted = [p.apply("sub", v, top) for v in rows[index]]
            powers = [p.apply("exp", v) for v in shifted]
            for v in powers:
                total = p.apply("add", total, v)
            share = p.apply("log", total)
            for j, (v, e) in enumerate(zip(shifted, powers, strict=True)):
                out[(*index, j)] = p.apply("sub", v, share) if log else p.apply("div", e, total)
        return np.moveaxis(out, -1, dim)

    return run


def _product(low: Lowering, meta: Tensor, a: Array, b: Array) -> Array:
    p, kind, out = low.program, kind_of(meta.dtype), np.empty(tuple(meta.shape), dtype=object)
    if meta.numel() * a.shape[-1] > 4 * LARGEST:
        raise Unsupported(f"it multiplies matrices of {tuple(a.shape)} and {tuple(b.shape)}")
    for index in np.ndindex(out.shape):
        row = a[index[:-1]] if a.ndim > 1 else a
        column = b[(*index[:-2], slice(None), index[-1])] if b.ndim > 1 else b
        total = p.const(0, kind)
        for x, y in zip(row, column, strict=True):
            total = p.apply("add", total, p.apply("mul", x, y))
        out[index] = total
    return out


def _addmm(low: Lowering, meta: Tensor, c: Array, a: Array, b: Array, *, beta: Any = 1, alpha: Any = 1) -> Array:
    if beta != 1 or alpha != 1:
        raise Unsupported("it calls addmm with factors")
    product, p = _product(low, meta, a, b), low.program
    return _mapped(lambda x, y: p.apply("add", x, y), product, np.broadcast_to(c, product.shape))


def _mv(low: Lowering, meta: Tensor, a: Array, b: Array) -> Array:
    p, kind = low.program, kind_of(meta.dtype)
    out = np.empty(a.shape[0], dtype=object)
    for i in range(a.shape[0]):
        total = p.const(0, kind)
        for x, y in zip(a[i], b, strict=True):
            total = p.apply("add", total, p.apply("mul", x, y))
        out[i] = total
    return out


def _index(low: Lowering, meta: Tensor, a: Array, indices: Any) -> Array:
    if len(indices) == 1 and a.ndim == 1 and any(s.op != "const" for s in indices[0].reshape(-1)):
        return _mapped(lambda i: _picked(low.program, a, i), indices[0])

    def number(s: Scalar) -> int:
        if s.op != "const":
            raise Unsupported("it indexes with numbers that depend on the state")
        return int(s.value)

    chosen = tuple(slice(None) if i is None else np.vectorize(number, otypes=[np.int64])(i) for i in indices)
    return a[chosen].reshape(tuple(meta.shape))


def _picked(p: Program, table: Array, index: Scalar) -> Scalar:
    """Entry `index` of a short table, by comparison with every place."""
    out = table[0]
    for j, v in enumerate(table[1:], 1):
        out = p.apply("where", p.apply("eq", index, p.const(j, "i64")), v, out)
    return out


def _searchsorted(low: Lowering, meta: Tensor, nodes: Array, values: Array, *, right: bool = False, **more: Any) -> Array:
    """How many nodes are below."""
    p = low.program
    if nodes.ndim != 1 or more.get("side") or more.get("sorter") is not None:
        raise Unsupported("it calls searchsorted with a table for each trajectory")

    def place(v: Scalar) -> Scalar:
        total = p.const(0, "i64")
        for node in nodes:
            total = p.apply("add", total, p.cast(p.apply("le" if right else "lt", node, p.cast(v, node.kind)), "i64"))
        return total

    return _mapped(place, values)


def _scatter(low: Lowering, meta: Tensor, a: Array, b: Array, place: Any) -> Array:
    out = a.copy()
    p, kind = low.program, kind_of(meta.dtype)
    out[place] = _mapped(lambda v: p.cast(v, kind), b)
    return out


def _at(a: Array, dim: int, index: Any) -> tuple[Any, ...]:
    return (slice(None),) * (dim % a.ndim) + (index,)


def _cut(start: Any, end: Any, step: Any = 1) -> slice:
    return slice(start, None if end is None or end > 2**60 else end, step)


def _split(low: Lowering, meta: Any, a: Array, sizes: Any, dim: int = 0) -> list[Array]:
    if isinstance(sizes, int):
        sizes = [min(sizes, a.shape[dim] - i) for i in range(0, a.shape[dim], sizes)]
    ends = np.cumsum(sizes)
    return [a[_at(a, dim, slice(e - s, e))] for s, e in zip(sizes, ends, strict=True)]


def _numbers(low: Lowering, meta: Tensor, values: np.ndarray) -> Array:
    p, kind, out = low.program, kind_of(meta.dtype), np.empty(values.shape, dtype=object)
    for index in np.ndindex(values.shape):
        out[index] = p.const(values[index].item(), kind)
    return out


def _arange(low: Lowering, meta: Tensor, *args: Any, **_: Any) -> Array:
    return _numbers(low, meta, np.arange(*args))


def _reshape(low: Lowering, meta: Tensor, a: Array, *_: Any, **__: Any) -> Array:
    return a.reshape(tuple(meta.shape))


def _filled(value: Any) -> Callable[..., Array]:
    return lambda low, meta, *_, **__: low.full(meta.shape, value, meta.dtype)


def _full(low: Lowering, meta: Tensor, *args: Any, **_: Any) -> Array:
    value = args[-1]
    if isinstance(value, np.ndarray):
        return np.broadcast_to(value.reshape(()), tuple(meta.shape))
    return low.full(meta.shape, value, meta.dtype)


SHAPES: dict[str, Callable[..., Any]] = {
    **{n: _reshape for n in ("view", "reshape", "_unsafe_view", "view_copy", "unsqueeze", "unsqueeze_copy", "squeeze",
                             "squeeze_copy", "_reshape_copy")},
    **{n: _filled(0) for n in ("zeros", "zeros_like", "new_zeros", "empty", "empty_like", "new_empty", "empty_strided",
                              "empty_permuted")},
    **{n: _filled(1) for n in ("ones", "ones_like", "new_ones")},
    **{n: _full for n in ("full", "full_like", "new_full", "scalar_tensor")},
    **{n: lambda low, meta, a, *_, **__: np.broadcast_to(a, tuple(meta.shape)) for n in ("expand", "expand_copy")},
    **{n: lambda low, meta, a, dims: np.transpose(a, dims) for n in ("permute", "permute_copy")},
    **{n: lambda low, meta, a: a.T for n in ("t", "t_copy")},
    **{n: lambda low, meta, a, i, j: np.swapaxes(a, i, j) for n in ("transpose", "transpose_copy")},
    **{n: lambda low, meta, a, d, i: a[_at(a, d, i)] for n in ("select", "select_copy")},
    **{n: lambda low, meta, a, d=0, s=None, e=None, k=1: a[_at(a, d, _cut(s, e, k))] for n in ("slice", "slice_copy")},
    **{n: lambda low, meta, a, d=0: [a[_at(a, d, i)] for i in range(a.shape[d])] for n in ("unbind", "unbind_copy")},
    **{n: _split for n in ("split", "split_copy", "split_with_sizes", "split_with_sizes_copy")},
    "cat": lambda low, meta, arrays, d=0: np.concatenate([_cast(low, meta, a) for a in arrays], d),
    "stack": lambda low, meta, arrays, d=0: np.stack([_cast(low, meta, a) for a in arrays], d),
    "select_scatter": lambda low, meta, a, b, d, i: _scatter(low, meta, a, b, _at(a, d, i)),
    "slice_scatter": lambda low, meta, a, b, d=0, s=None, e=None, k=1: _scatter(low, meta, a, b, _at(a, d, _cut(s, e, k))),
    "flip": lambda low, meta, a, dims: np.flip(a, dims),
    "roll": lambda low, meta, a, shifts, dims: np.roll(a, shifts, dims),
    "repeat": lambda low, meta, a, times: np.tile(a, times),
    "arange": _arange, "eye": lambda low, meta, n, m=None, **_: _numbers(low, meta, np.eye(n, m)),
    "searchsorted": _searchsorted, "index": _index,
    "index_select": lambda low, meta, a, d, i: _index(low, meta, a, [None] * (d % a.ndim) + [i]),
    "sum": _reduced("add"), "mean": _reduced("add", True), "prod": _reduced("mul"), "amax": _reduced("max"),
    "amin": _reduced("min"), "any": _reduced("or"), "all": _reduced("and"),
    "_softmax": _softmax(False), "_log_softmax": _softmax(True), "mm": _product, "bmm": _product, "addmm": _addmm, "mv": _mv,
}  # fmt: skip


def _cast(low: Lowering, meta: Tensor, a: Array) -> Array:
    kind = kind_of(meta.dtype)
    return a if a.size == 0 else _mapped(lambda v: low.program.cast(v, kind), a)
