"""The kernel of one solver and one field: the try as one program, and around it the loop over trajectories."""

# ruff: noqa: ARG005 - what is wanted of a user's function has one signature
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from odebridge.integrate.engine.calls import PLACE, holes
from odebridge.integrate.engine.capture import Captured
from odebridge.integrate.engine.emit import BROADCAST, Writer
from odebridge.integrate.engine.lowering import Array, Lowering, kind_of
from odebridge.integrate.engine.scalars import REAL, Program, Scalar, Unsupported, derivative
from odebridge.integrate.engine.source import RESULT, Slot, Source, Uniforms
from odebridge.integrate.engine.text import Text
from odebridge.integrate.engine.traced import TryGraph

MOST = 40_000  # statements of one kernel: about a minute of the compiler


class Assembler:
    """Puts a kernel together; Unsupported with a reason where it cannot."""

    def __init__(
        self, functions: dict[str, Captured], given: Mapping[str, Sequence[Any]], like: Tensor, args: list[Tensor]
    ) -> None:
        self.functions, self.given, self.like, self.args = functions, given, like, args
        self.kind, self.n = kind_of(like.dtype), like[0].numel()
        self.uniforms, self.table = Uniforms(), []
        self.texts: list[str] = []
        self.statements = 0
        self.arg_place: dict[tuple[int, int], int] = {}
        self.structure: Array = None  # df/dx and df/dt: numbers that are 0 by structure, others None

    def _user(
        self, name: str, wanted: Callable[[Program, Scalar, list[Scalar], list[Scalar]], list[Scalar]], function: str
    ) -> None:
        """One of the user's functions, or its derivative, as a C++ function."""
        p, captured = Program(), self.functions[function]
        t = p.make("input", (), "f64", "t")
        x = [p.make("input", (), self.kind, f"x[{i}]") for i in range(self.n)]
        shaped = np.empty((1, *self.like.shape[1:]), dtype=object)
        shaped.reshape(-1)[:] = x
        time = np.empty(1, dtype=object)
        time[0] = p.cast(t, self.kind)
        arguments: list[Array] = (
            [shaped] if function == "after" else [time, shaped.reshape(1, -1) if function == "jacobian" else shaped]
        )
        for j, leaf in enumerate(self.args):
            values = np.empty((1, *leaf.shape[1:]), dtype=object)
            for i in range(values.size):
                values.reshape(-1)[i] = p.make("input", (), kind_of(leaf.dtype), self._slot_name(j, i, kind_of(leaf.dtype)))
            arguments.append(values)
        inputs, examples = [], []
        for number, place in enumerate(captured.given):
            if isinstance(place, int):
                inputs.append(arguments[place])
                examples.append(self.given[function][place])
            elif isinstance(place, Tensor):
                inputs.append(self._captured(p, function, number, place))
                examples.append(place)
            else:
                raise Unsupported("it reads a Python number that Dynamo could not fix")
        lowering = Lowering(p, lambda v: self._constant(p, v))
        outs = lowering(captured.graph.aten(examples), inputs)
        flat = [p.cast(v, self.kind) for v in outs[0].reshape(-1)]
        results = wanted(p, t, x, flat)
        writer = Writer(lambda s: str(s.value), self.table)
        spelled = writer.write(results)
        self._count(len(writer.lines))
        body = [*writer.lines, *(f"out[{i}] = {v};" for i, v in enumerate(spelled))]
        how = "INL" if len(body) < 60 else "FAR"
        self.texts.append(
            f"{how} void {name}(V t, const T *x, const V *s, const void *const *U, const double *C, T *out) {{\n  "
            + "\n  ".join(body)
            + "\n}"
        )

    def _slot_name(self, leaf: int, entry: int, kind: str) -> str:
        place = self.arg_place[leaf, entry]
        return _read(f"s[{place}]", kind)

    def _count(self, more: int) -> None:
        self.statements += more
        if self.statements > MOST:
            raise Unsupported(f"it needs more than {MOST} statements")

    def _captured(self, p: Program, function: str, number: int, tensor: Tensor) -> Array:
        """A tensor that a user's function has captured; its values are read at every call."""
        if kind_of(tensor.dtype) not in REAL:
            self.uniforms.baked.append((function, number, tensor.detach().clone()))
            return self._constant(p, tensor)
        return self._pointed(p, (function, number), tensor)

    def _law_own(self, p: Program, tensor: Tensor) -> Array:
        """A tensor of the method or law."""
        return self._constant(p, tensor) if kind_of(tensor.dtype) not in REAL else self._pointed(p, tensor, tensor)

    def _pointed(self, p: Program, source: Any, tensor: Tensor) -> Array:
        kind, out = kind_of(tensor.dtype), np.empty(tuple(tensor.shape), dtype=object)
        k = len(self.uniforms.tensors)
        self.uniforms.tensors.append(source)
        c = "double" if kind == "f64" else "float"
        for i in range(out.size):
            out.reshape(-1)[i] = p.make("input", (), kind, f"{BROADCAST[kind]}((({c} const *)U[{k}])[{i}])")
        return out

    def _constant(self, p: Program, tensor: Tensor) -> Array:
        kind, out = kind_of(tensor.dtype), np.empty(tuple(tensor.shape), dtype=object)
        for i, v in enumerate(tensor.detach().reshape(-1).tolist()):
            out.reshape(-1)[i] = p.const(v, kind)
        return out

    def _derivatives(self, p: Program, t: Scalar, x: list[Scalar], f: list[Scalar]) -> list[Scalar]:
        """df/dx by rows and df/dt, those that are not 0 by structure."""
        columns = self._columns(p, x, f) if "jacobian" not in self.functions else []
        return self._structured([*columns, *derivative(p, f, t)])

    def _columns(self, p: Program, x: list[Scalar], f: list[Scalar]) -> list[Scalar]:
        """df/dx by rows."""
        columns = [derivative(p, f, v) for v in x]
        return [c[i] for i in range(self.n) for c in columns]

    def _structured(self, values: list[Scalar]) -> list[Scalar]:
        mine = np.array([None if v.op != "const" or v.value != 0 else 0.0 for v in values], dtype=object)
        self.structure = mine if self.structure is None else np.concatenate([self.structure, mine])
        return [v for v, zero in zip(values, mine, strict=True) if zero is None]

    def build(self, graph: TryGraph, leaves: list[Tensor]) -> Source:
        """The text. leaves: the tensors of the lanes, in the order of `traced.carried`."""
        sizes = [leaf[0].numel() for leaf in leaves]
        place = 0
        for j, leaf in enumerate(self.args):  # the kernel's first slots, so that the user's functions know them
            for i in range(leaf[0].numel()):
                self.arg_place[j, i] = place
                place += 1
        self._user("field", lambda p, t, x, f: f, "field")
        if "after" in self.functions:
            self._user("after", lambda p, t, x, f: f, "after")
        used = {str(n.target).split(".")[1] for n in graph.graph.graph.nodes if str(n.target).startswith("odebridge.")}
        if "differentiate" in used:
            if "jacobian" in self.functions:
                self._user("jacobian", lambda p, t, x, f: self._structured(f), "jacobian")
            self._user("slopes", self._derivatives, "field")
        elif "renew" in used and "jacobian" in self.functions:
            self._user("jacobian", lambda p, t, x, f: self._structured(f), "jacobian")
        elif "renew" in used:
            self._user("slopes", lambda p, t, x, f: self._structured(self._columns(p, x, f)), "field")

        p = Program()
        limit, *inputs = [self._inputs(p, leaf, i) for i, leaf in enumerate([torch.zeros(1, dtype=torch.int64), *leaves])]
        lowering = Lowering(
            p, lambda v: self._law_own(p, v), holes(p, self.kind, self.n, self.structure, "jacobian" in self.functions)
        )
        outs = lowering(graph.graph, [limit, *inputs])
        state, more = outs[: graph.lanes_out], outs[graph.lanes_out :]
        if [a.size for a in state] != sizes:
            raise Unsupported("its controller's memory changes its form")
        return self._source(p, limit, inputs, state, more, leaves, place)

    @staticmethod
    def _inputs(p: Program, leaf: Tensor, number: int) -> Array:
        out = np.empty((1, *leaf.shape[1:]), dtype=object)
        for i in range(out.size):
            out.reshape(-1)[i] = p.make("input", (), kind_of(leaf.dtype), (number, i))
        return out

    def _source(
        self,
        p: Program,
        limit: Array,
        inputs: list[Array],
        state: list[Array],
        more: list[Array],
        leaves: list[Tensor],
        place: int,
    ) -> Source:
        flat_in = [v for a in inputs for v in a.reshape(-1)]
        flat_out = [p.cast(b, a.kind) for a, b in zip(flat_in, (v for a in state for v in a.reshape(-1)), strict=True)]
        results = [p.cast(v, v.kind) for a in more for v in a.reshape(-1)]
        held = [i for i, s in enumerate(flat_out) if s.op == "item" and str(s.value).startswith(PLACE)]
        stays = set(held)
        live = _live(flat_in, [s for i, s in enumerate(flat_out) if i not in stays], results)
        changed = [i for i in live if flat_in[i] is not flat_out[i]]
        fixed = [i for i in live if i not in set(changed)]
        # Order: args, what is read only, the limit of steps, what changes.
        places = {i: place + k for k, i in enumerate(fixed)}
        read_only = place + len(fixed) + 1
        places |= {i: read_only + k for k, i in enumerate(changed)}
        spelled = {id(flat_in[i]): _read(f"s[{at}]", flat_in[i].kind) for i, at in places.items()}
        spelled[id(limit[0])] = _read(f"s[{read_only - 1}]", "i64")
        writer = Writer(lambda s: spelled[id(s)] if id(s) in spelled else str(s.value))
        written = writer.write([*(flat_out[i] for i in changed), *results])
        new, last = written[: len(changed)], written[len(changed) :]
        self._count(len(writer.lines))
        numbered = [(leaf, entry) for leaf, a in enumerate(inputs) for entry in range(a.size)]
        kept = read_only + len(changed)
        matrix, size = self._nonzero(), self.n * self.n
        held = [held[j] for j in matrix] + held[size:] if held else []  # J without what is 0 by structure, then its factors
        places |= {i: kept + k for k, i in enumerate(held)}
        slots = [Slot(flat_in[i].kind, places.get(i), *numbered[i]) for i in range(len(flat_in))]
        writes = [f"s[{places[i]}] = {_written(v, flat_in[i].kind)};" for i, v in zip(changed, new, strict=True)]
        notes = [f"o[{i}] = {_written(v, s.kind)};" for i, (v, s) in enumerate(zip(last, results, strict=True))]
        result = next(s.place for s in slots if s.leaf == RESULT)
        text = Text(
            self.kind,
            self.n,
            tuple(self.texts),
            (*writer.lines, *notes, *writes),
            kept,
            read_only,
            len(notes),
            result,
            "newton(" in "".join(writer.lines),
            ("jacobian" if "jacobian" in self.functions else "slopes", tuple(matrix)) if held else None,
        )
        return Source(text, slots, read_only, kept, kept + len(held), len(notes), self.table, self.uniforms)

    def _nonzero(self) -> list[int]:
        """Which entries of J, by rows, are not 0 by structure."""
        return [] if self.structure is None else [k for k, v in enumerate(self.structure[: self.n * self.n]) if v is None]


def _read(place: str, kind: str) -> str:
    return {"f64": place, "f32": f"to_f({place})"}.get(kind, f"((I){place})")


def _written(value: str, kind: str) -> str:
    return {"f64": value, "f32": f"to_d({value})"}.get(kind, f"(V)({value})")


def _live(inputs: list[Scalar], outputs: list[Scalar], results: list[Scalar]) -> list[int]:
    """Which inputs are needed, for what is read afterwards or for what inputs become. A memory that is never read is not."""
    number = {id(s): i for i, s in enumerate(inputs)}
    needed: set[int] = set()
    seen: set[int] = set()
    own = [s for s in outputs if s.op != "input"]
    stack = results + own
    while stack:
        s = stack.pop()
        if id(s) in seen:
            continue
        seen.add(id(s))
        if id(s) in number:
            needed.add(number[id(s)])
        stack += s.args
    return sorted(needed)
