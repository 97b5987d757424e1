"""Explicit steps made again one at a time, from the last to the first: the memory of a gradient is that of one step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from odebridge.core.derivatives import refuse_second
from odebridge.core.protocols import Step
from odebridge.core.shapes import leaves, per_sample, take, tree_map
from odebridge.integrate.fused import Fused
from odebridge.integrate.gradient import end_slope
from odebridge.integrate.leaves import leaves_of, reached
from odebridge.integrate.loops import Attempt
from odebridge.integrate.save import At, Times, recorder
from odebridge.integrate.span import Task

Row = tuple[Tensor, ...]


@dataclass
class Rounds:
    """Of the kept steps of every round: ids, t0, t1, dt, state and slope at their start. A tape for the loop."""

    rows: list[Row] = field(default_factory=list)

    def take(self, tried: Attempt) -> None:
        """Note one round."""
        given = (tried.ids, tried.t0, tried.t1, tried.dt, tried.x0, tried.slope0)
        if not bool(tried.kept.all()):
            index = tried.kept.nonzero()[:, 0]
            given = tuple(v.index_select(0, index) for v in given)
        if len(given[0]):
            self.rows.append(given)


class Backtrack:
    """From the gradients of x1 and xs to those of x0, args and the tensors that all trajectories share."""

    def __init__(self, task: Task, rounds: Rounds) -> None:
        self.task, self.rounds = task, rounds
        plain, of = task.without_graph(), task.f.field
        owned = [p for p in of.parameters() if p.requires_grad] if isinstance(of, nn.Module) else []
        known: dict[int, Tensor] = {id(p): p for p in owned}
        known.update((id(v), v) for v in leaves_of(plain.f, plain.course.t0, plain.course.x0))
        self.shared = list(known.values())
        course = plain.course
        self.keeper = recorder(task.save, course, task.method, limited=False) if isinstance(task.save, At) else None
        self.plain, self.done, self.begun = plain, torch.zeros(0), list[tuple[Tensor, Tensor]]()
        if isinstance(self.keeper, Times):
            self.done, self.begun = self.keeper.done, list(zip(self.keeper.ids, self.keeper.columns, strict=True))

    def __call__(self, g1: Tensor, gs: Tensor) -> list[Tensor]:
        """Gradients of x0, of the args and of the shared tensors."""
        plain = self.plain
        t0, x0 = plain.course.t0, plain.course.x0
        self.into = [torch.zeros_like(v) for v in (*leaves(plain.f.args), *self.shared)]
        ax, of_slope = g1.clone(), torch.zeros_like(g1)
        for row in reversed(self.rounds.rows):
            ids = row[0]
            near = self._step(row, ax.index_select(0, ids), of_slope.index_select(0, ids), gs)
            ax, of_slope = (v.index_copy(0, ids, new) for v, new in zip((ax, of_slope), near, strict=True))
        for ids, columns in self.begun:  # saved at the start
            ax = ax.index_add(0, ids, gs[ids, columns])
        begun = (of_slope != 0).flatten(1).any(1).nonzero()[:, 0]  # the slopes of others may be infinite
        if len(begun):
            args, x = self._own(begun), x0.detach().index_select(0, begun).requires_grad_()
            with torch.enable_grad():
                out = replace(plain.f.take(begun), args=args, tally=None)(t0.index_select(0, begun), x)
            ax = ax.index_add(0, begun, self._pulled([out], [of_slope.index_select(0, begun)], [x], args, begun)[0])
        return [ax, *self.into]

    def _own(self, ids: Tensor) -> Any:
        """The args of these trajectories, as leaves."""
        return tree_map(lambda v: v.index_select(0, ids).detach().requires_grad_(v.is_floating_point()), self.plain.f.args)

    def _step(self, row: Row, ax: Tensor, of_slope: Tensor, gs: Tensor) -> list[Tensor]:
        """One round made again: from the adjoints of the states and slopes at its end to those at its start."""
        ids, t0, t1, dt, x, slope = row
        method: Any = self.task.method
        args, x, slope = self._own(ids), x.detach().requires_grad_(), slope.detach().requires_grad_()
        f = replace(self.plain.f.take(ids), args=args, tally=None)
        with torch.enable_grad():
            if isinstance(method, Fused) and len(ids) < len(self.plain.course.x0):
                made = take(self._padded(f, ids, t0, x, dt, slope), torch.arange(len(ids), device=ids.device))
            else:
                made = method.advance(f, t0, x, dt, per_sample(dt, x), slope)
            outs, grads = [made.x], [ax]
            needs_end = bool((of_slope != 0).any())
            end = made.slope if made.slope is not None else (end_slope(f, t1, made.x) if self.keeper or needs_end else slope)
            if needs_end:
                outs.append(end)
                grads.append(of_slope)
            self._saved(Attempt(ids, ids >= 0, t0, t1, dt, x, made.x, slope, end, made, dt, x), outs, grads, gs)
        return self._pulled(outs, grads, [x, slope], args, ids)

    def _padded(self, f: Any, ids: Tensor, t: Tensor, x: Tensor, dt: Tensor, slope: Tensor) -> Step:
        """The step of a batch of the full size, whose further rows are those of the first one: one size, one graph."""
        index = torch.cat([torch.arange(len(ids), device=ids.device), ids.new_zeros(len(self.plain.course.x0) - len(ids))])
        t, x, dt, slope = (v.index_select(0, index) for v in (t, x, dt, slope))
        made = self.task.method.advance(f.take(index), t, x, dt, per_sample(dt, x), slope)  # type: ignore[attr-defined]
        return Step(made.x, slope=made.slope, stages=made.stages)

    def _saved(self, tried: Attempt, outs: list[Tensor], grads: list[Tensor], gs: Tensor) -> None:
        """What was saved within the steps, and what comes back to it."""
        keeper = self.keeper
        if not isinstance(keeper, Times):
            return
        keeper.ids, keeper.columns, keeper.values, keeper.done = [], [], [], self.done
        keeper.take(tried)
        for ids, columns, values in zip(keeper.ids, keeper.columns, keeper.values, strict=True):
            outs.append(values)
            grads.append(gs[ids, columns])

    def _pulled(self, outs: list[Tensor], grads: list[Tensor], first: list[Tensor], args: Any, ids: Tensor) -> list[Tensor]:
        """The gradients of `first`; those of args and shared tensors are added to what there is."""
        own = leaves(args)
        wanted = [*first, *own, *self.shared]
        known = {id(v) for v in wanted}
        if any(id(v) not in known for out in outs for v in reached(out)):
            raise RuntimeError(
                "gradient: the field uses a tensor that requires a gradient and was not used at the start of the solve; for "
                'Replay("steps") make it a parameter of an nn.Module that is the field, pass it as args, or use ob.Replay().'
            )
        floating = [v for v in wanted if v.requires_grad]
        moving = [i for i, out in enumerate(outs) if out.requires_grad]  # a field may be a constant
        of, above = [outs[i] for i in moving], [grads[i] for i in moving]
        parts = iter(torch.autograd.grad(of, floating, above, allow_unused=True) if moving else [None] * len(floating))
        found = [next(parts) if v.requires_grad else None for v in wanted]
        for i, g in enumerate(found[len(first) :]):
            if g is not None and i < len(own):
                self.into[i].index_add_(0, ids, g)
            elif g is not None:
                self.into[i] += g
        return [torch.zeros_like(v) if g is None else g for v, g in zip(first, found, strict=False)]


class _Node(torch.autograd.Function):
    """x1 and xs, whose derivative is a walk back."""

    @staticmethod
    def forward(ctx: Any, back: Backtrack, x1: Tensor, xs: Tensor, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        ctx.back, ctx.needs = back, [v.requires_grad for v in inputs]
        return x1.clone(), xs.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        refuse_second('gradient: Replay("steps") has first derivatives only; for second ones use ob.Replay().')
        found = ctx.back(*grads)
        return None, None, None, *(g if need else None for g, need in zip(found, ctx.needs, strict=True))


def backtracked(task: Task, rounds: Rounds, x1: Tensor, xs: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """x1 and xs with their graph, from what a solve has found and its rounds."""
    back = Backtrack(task, rounds)
    kept = x1[:, None][:, :0] if xs is None else xs
    inputs = (task.course.x0, *leaves(task.f.args), *back.shared)
    end, kept = _Node.apply(back, x1, kept, *inputs)  # type: ignore[misc]
    return end, None if xs is None else kept
