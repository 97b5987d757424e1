"""The loop around a kernel: lanes into columns of numbers, so many tries, and back."""

from __future__ import annotations

import time
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from odebridge.core.protocols import Counts, Method, Step
from odebridge.core.result import RUNNING, Result
from odebridge.core.shapes import leaves, tree_map
from odebridge.core.shapes import take as take_lanes
from odebridge.integrate.engine.launch import Launcher
from odebridge.integrate.engine.source import RESULT
from odebridge.integrate.engine.traced import prepared
from odebridge.integrate.loops import Attempt, Lanes
from odebridge.integrate.save import Recorder


class Engine:
    """A bound kernel and the two ways to use it."""

    def __init__(self, launcher: Launcher, method: Method, max_steps: int) -> None:
        self.launcher, self.method, self.max_steps = launcher, method, max_steps
        self.graph, self.source = launcher.bound.kernel.graph, launcher.bound.kernel.source
        self.ordered: list[tuple[list[tuple[int, list[int]]], Tensor]] | None = None

    def packed(self, lanes: Lanes) -> Tensor:
        """The lanes as numbers of 64 bits, one column a trajectory: (rows, b)."""
        b, source = len(lanes.t), self.source
        buffer = torch.empty(source.rows, b, dtype=torch.float64, device=lanes.x.device)
        place = 0
        for leaf in leaves(lanes.args):
            rows = leaf.detach().reshape(b, -1).T
            buffer[place : place + len(rows)] = _bits(rows)
            place += len(rows)
        buffer[source.stored - 1].view(torch.int64).fill_(self.max_steps)
        state = leaves(_state(lanes))
        for parts, rows in self._order(buffer.device):
            flat = ((state[i].reshape(b, -1), entries) for i, entries in parts)
            columns = [v if len(entries) == v.shape[1] else v[:, entries] for v, entries in flat]
            buffer.index_copy_(0, rows, _bits(torch.cat(columns, 1).T))
        return buffer

    def _order(self, device: torch.device) -> list[tuple[list[tuple[int, list[int]]], Tensor]]:
        """`source.order` with the rows on a device."""
        if self.ordered is None:
            self.ordered = [(parts, torch.tensor(rows, device=device)) for parts, rows in self.source.order.values()]
        return self.ordered

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
            return old.reshape(len(old), -1).index_copy(1, torch.tensor(span[1], device=old.device), rows).reshape(old.shape)

        return Lanes(*tree_map(read, _state(lanes)))._replace(ids=lanes.ids, args=lanes.args)

    def attempt(self, lanes: Lanes, *_: Any) -> tuple[Lanes, Attempt]:
        """One try in every lane: `integrate.loops.attempt` by the kernel."""
        lanes = prepared(lanes, self.method)
        buffer, b = self.packed(lanes), len(lanes.t)
        notes = self.launcher.notes(1, b)
        self.launcher.run(buffer, notes, torch.arange(b, device=buffer.device), 1, False)
        return self.unpacked(buffer, lanes), self._attempt(lanes, notes[0])

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
        graph, found = self.graph, {}
        for name, shape, dtype in zip(graph.names, graph.shapes, graph.dtypes, strict=True):
            found[name] = _value(notes[:, self.columns[name]], dtype).reshape(-1, *shape).contiguous()
        return found

    @cached_property
    def columns(self) -> dict[str, slice]:
        """Where each thing stands in a note."""
        found, first = {}, 0
        for name, shape in zip(self.graph.names, self.graph.shapes, strict=True):
            size = int(torch.Size(shape).numel())
            found[name], first = slice(first, first + size), first + size
        return found

    def reach(
        self, lanes: Lanes, time_limit: float | None, began: float, keeper: Recorder | None = None
    ) -> tuple[Lanes, Attempt]:
        """Every lane to its end, and the last try of each. `keeper` gets the kept steps it asks for, in the order of time."""
        most = max(1024, self.launcher.columns // self.source.rows)
        if len(lanes.t) > most:
            groups = torch.arange(len(lanes.t), device=lanes.t.device).split(most)
            ends = [self.reach(take_lanes(lanes, some), time_limit, began, keeper) for some in groups]
            lanes, tried = (tree_map(lambda *parts: torch.cat(parts), *each) for each in zip(*ends, strict=True))
            return lanes, tried
        lanes = prepared(lanes, self.method)
        buffer, b = self.packed(lanes), len(lanes.t)
        last = self.launcher.notes(1, b).zero_()
        place = next(s.place for s in self.source.slots if s.leaf == RESULT)
        codes = buffer[place].view(torch.int64)
        noted = min(1000, max(1, self.launcher.numbers // (self.source.outs * b))) if keeper is not None else 0
        notes = self.launcher.notes(noted, b)
        while True:
            listed = (codes == RUNNING).nonzero()[:, 0]
            if len(listed) == 0:
                break
            if time_limit is not None and time.monotonic() - began > time_limit:
                codes[listed] = int(Result.TIME_LIMIT)
                break
            tries = self.launcher.tries(len(listed), time_limit is not None)
            if keeper is None:
                self.launcher.run(buffer, last, listed, tries, False)
                continue
            some = notes[:tries]
            used = self.launcher.run(buffer, some, listed, len(some), True)
            last[0, listed] = some[used[listed] - 1, listed]
            self._shown(keeper, lanes, some, used)
        return self.unpacked(buffer, lanes, ended=True), self._attempt(lanes, last[0])

    def _shown(self, keeper: Recorder, lanes: Lanes, notes: Tensor, used: Tensor) -> None:
        """The keeper sees those of the kept steps in notes (tries, b, outs) that it wants."""
        made = torch.arange(len(notes), device=notes.device)[:, None] < used
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
