"""The loop around a kernel: lanes into columns of numbers, so many tries, and back."""

from __future__ import annotations

import ctypes
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from odebridge.core.protocols import Counts, Method, Step
from odebridge.core.result import RUNNING, Result
from odebridge.core.shapes import leaves, tree_map
from odebridge.core.shapes import take as take_lanes
from odebridge.integrate.engine.assemble import RESULT
from odebridge.integrate.engine.kernels import Bound
from odebridge.integrate.engine.traced import prepared
from odebridge.integrate.loops import Attempt, Lanes
from odebridge.integrate.save import Recorder

WIDE, NARROW = 8, 1
COLUMNS = 32_000_000  # numbers of the lanes in work at a time, 256 MB; more lanes go in groups
NUMBERS = 4_000_000  # that are noted between two looks, 32 MB
ROUNDS = 200_000  # tries of all trajectories between two looks at the clock: a few hundredths of a second


class Engine:
    """A bound kernel and the two ways to use it."""

    def __init__(self, bound: Bound, method: Method, max_steps: int) -> None:
        self.bound, self.source, self.method, self.max_steps = bound, bound.kernel.source, method, max_steps
        self.pointers = (ctypes.c_void_p * max(len(bound.uniforms), 1))(*(v.data_ptr() for v in bound.uniforms))

    def packed(self, lanes: Lanes) -> Tensor:
        """The lanes as numbers of 64 bits, one column a trajectory: (rows, b)."""
        b, source = len(lanes.t), self.source
        buffer = torch.empty(source.rows, b, dtype=torch.float64)
        place = 0
        for leaf in leaves(lanes.args):
            rows = leaf.detach().reshape(b, -1).T
            buffer[place : place + len(rows)] = _bits(rows)
            place += len(rows)
        buffer[source.stored - 1] = torch.tensor(self.max_steps).view(torch.float64)
        state = leaves(_state(lanes))
        for parts, rows in self.source.order.values():
            flat = ((state[i].reshape(b, -1), entries) for i, entries in parts)
            columns = [v if len(entries) == v.shape[1] else v[:, entries] for v, entries in flat]
            buffer.index_copy_(0, rows, _bits(torch.cat(columns, 1).T))
        return buffer

    def unpacked(self, buffer: Tensor, lanes: Lanes, ended: bool = False) -> Lanes:
        """The lanes after the kernel; `lanes` as they were gives what it has not changed. ended: without control and memory."""
        spans = iter(self.source.spans)
        unread = {id(v) for v in leaves((lanes.control, lanes.memory))} if ended else set()

        def read(old: Tensor) -> Tensor:
            span = next(spans)
            if span is None or span[0] < self.source.stored or id(old) in unread:
                return old
            rows = _value(buffer[span[0] : span[0] + len(span[1])], old.dtype).T
            if len(span[1]) == old[:1].numel():
                return rows.reshape(old.shape).contiguous()
            return old.reshape(len(old), -1).index_copy(1, torch.tensor(span[1]), rows).reshape(old.shape)

        return Lanes(*tree_map(read, _state(lanes)))._replace(ids=lanes.ids, args=lanes.args)

    def _run(self, buffer: Tensor, notes: Tensor, listed: Tensor, tries: int, everything: bool = False) -> Tensor:
        """So many tries of the listed columns, on all threads; returns how many each of them had, (b,)."""
        count, stride = len(listed), buffer.shape[1]
        run = self.bound.kernel.run(WIDE if count > 2 else NARROW)
        workers = min(torch.get_num_threads(), max(1, count // 256))
        used = torch.zeros(stride, dtype=torch.int64)

        def part(some: Tensor) -> None:
            run(
                buffer.data_ptr(), notes.data_ptr(), used.data_ptr(), some.data_ptr(), len(some), tries, everything, stride,
                self.pointers, self.bound.table.data_ptr(),
            )  # fmt: skip

        if workers == 1:
            part(listed)
        else:
            with ThreadPoolExecutor(workers) as pool:  # ctypes lets go of the interpreter
                list(pool.map(part, listed.tensor_split(workers)))
        return used

    def attempt(self, lanes: Lanes, *_: Any) -> tuple[Lanes, Attempt]:
        """One try in every lane: `integrate.loops.attempt` by the kernel."""
        lanes = prepared(lanes, self.method)
        buffer, b = self.packed(lanes), len(lanes.t)
        notes = torch.empty(b, self.source.outs, dtype=torch.float64)
        self._run(buffer, notes, torch.arange(b), 1)
        return self.unpacked(buffer, lanes), self._attempt(lanes, notes)

    def _attempt(self, before: Lanes, notes: Tensor) -> Attempt:
        """The last tries from notes (b, outs). What the lanes were before is right where one try was made."""
        found = self._read(notes)
        powers = tuple(v for name, v in found.items() if name.startswith("power"))
        step = Step(found["x1"], found.get("estimate"), found=found.get("found"))
        return Attempt(
            before.ids, found["kept"], found.get("t0", before.t), found["t1"], found["dt"], found.get("x0", before.x),
            found["x1"], before.slope, found["slope1"], step, found["error"], found["weights"], powers or None,
        )  # fmt: skip

    def _read(self, notes: Tensor) -> dict[str, Tensor]:
        """What was noted, by name: (k, outs) -> (k, ...)."""
        graph, found = self.bound.kernel.graph, {}
        for name, shape, dtype in zip(graph.names, graph.shapes, graph.dtypes, strict=True):
            found[name] = _value(notes[:, self.columns[name]], dtype).reshape(-1, *shape).contiguous()
        return found

    @cached_property
    def columns(self) -> dict[str, slice]:
        """Where each thing stands in a note."""
        found, first = {}, 0
        for name, shape in zip(self.bound.kernel.graph.names, self.bound.kernel.graph.shapes, strict=True):
            size = int(torch.Size(shape).numel())
            found[name], first = slice(first, first + size), first + size
        return found

    def reach(
        self, lanes: Lanes, time_limit: float | None, began: float, keeper: Recorder | None = None
    ) -> tuple[Lanes, Attempt]:
        """Every lane to its end, and the last try of each. `keeper` gets the kept steps it asks for, in the order of time."""
        most = max(1024, COLUMNS // self.source.rows)
        if len(lanes.t) > most:
            groups = torch.arange(len(lanes.t)).split(most)
            ends = [self.reach(take_lanes(lanes, some), time_limit, began, keeper) for some in groups]
            lanes, tried = (tree_map(lambda *parts: torch.cat(parts), *each) for each in zip(*ends, strict=True))
            return lanes, tried
        lanes = prepared(lanes, self.method)
        buffer, b = self.packed(lanes), len(lanes.t)
        last = torch.zeros(b, self.source.outs, dtype=torch.float64)
        place = next(s.place for s in self.source.slots if s.leaf == RESULT)
        codes = buffer[place].view(torch.int64)
        noted = min(1000, max(1, NUMBERS // (self.source.outs * b))) if keeper is not None else 0
        notes = torch.empty(noted, b, self.source.outs, dtype=torch.float64)
        while True:
            listed = (codes == RUNNING).nonzero()[:, 0]
            if len(listed) == 0:
                break
            if time_limit is not None and time.monotonic() - began > time_limit:
                codes[listed] = int(Result.TIME_LIMIT)
                break
            tries = max(16, min(ROUNDS // len(listed), 10_000 if time_limit is None else 256))
            if keeper is None:
                self._run(buffer, last, listed, tries)
                continue
            some = notes[:tries]
            used = self._run(buffer, some, listed, len(some), True)
            last[listed] = some[used[listed] - 1, listed]
            self._shown(keeper, lanes, some, used)
        return self.unpacked(buffer, lanes, ended=True), self._attempt(lanes, last)

    def _shown(self, keeper: Recorder, lanes: Lanes, notes: Tensor, used: Tensor) -> None:
        """The keeper sees those of the kept steps in notes (tries, b, outs) that it wants."""
        made = torch.arange(len(notes))[:, None] < used
        kept, t1 = (notes[:, :, self.columns[name].start] for name in ("kept", "t1"))
        number, lane = keeper.wanted(lanes.ids, t1, made & _value(kept, torch.bool))
        if len(lane):
            few = lanes._replace(control=None, memory=None, counts=Counts(), tol=None, args=None, piece=None)
            keeper.take_many(self._attempt(take_lanes(few, lane), notes[number, lane]))


def _state(lanes: Lanes) -> tuple[Any, ...]:
    return tuple(lanes._replace(ids=None, args=None))  # type: ignore[arg-type]


def _bits(rows: Tensor) -> Tensor:
    """Numbers of any kind as 64 bits that the kernel reads."""
    if rows.dtype == torch.bool:
        return (-rows.to(torch.int64)).contiguous().view(torch.float64)
    if rows.dtype in (torch.int64, torch.int32):
        return rows.to(torch.int64).contiguous().view(torch.float64)
    return rows.double()


def _value(rows: Tensor, dtype: torch.dtype) -> Tensor:
    if dtype == torch.bool:
        return rows.view(torch.int64) != 0
    return rows.view(torch.int64).to(dtype) if dtype in (torch.int64, torch.int32) else rows.to(dtype)
