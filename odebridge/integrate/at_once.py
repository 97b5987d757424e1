"""The kept steps as one batch: given their states they do not depend on each other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from odebridge.core.derivatives import refuse_second
from odebridge.core.shapes import per_sample
from odebridge.integrate.gradient import Path, Place, StepTape
from odebridge.integrate.loops import Attempt, limited
from odebridge.integrate.save import Recorder, Saved
from odebridge.methods.collocation import Collocation
from odebridge.methods.explicit_rk import ExplicitRK
from odebridge.methods.rosenbrock import Rosenbrock

# A step of these depends on (t, x, dt) alone, and on what has been found for it: no slope, history or order comes along.
ONE_STEP = (ExplicitRK, Rosenbrock, Collocation)


def together(path: Path, states: Tensor, recorder: Recorder) -> tuple[Tensor, Tensor]:
    """The ends x1 (b, *s) and what is saved. states (n, *s): where each step begins, trajectory 0's first, in time."""
    x = states.detach().requires_grad_()
    ends, saved = made(path, x, recorder)
    xs = ends[:0] if saved.xs is None else saved.xs
    return _Chain.apply((path.count, path.first, x, ends, xs), ends, xs, path.course.x0)  # type: ignore[return-value]


def made(path: Path, x: Tensor, recorder: Recorder) -> tuple[Tensor, Saved]:
    """All kept steps from where they begin, x (n, *s): their ends (n, *s) and what is saved of them."""
    count, first = path.count, path.first
    ids = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    k = torch.arange(len(ids), device=ids.device) - first[ids]
    t, t_end, dt = path.times(ids, k)
    f = path.f.take(ids)
    slope0 = f(t, x)
    step = path.step(f, Place(ids, x, path.method.start(f, t, x), slope0, t), t, dt, k, slope0)
    ends = limited(path.after, step.x)
    slope1 = step.slope if step.slope is not None and path.after is None else (f(t_end, ends) if path.ends else slope0)
    everyone = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
    recorder.take(Attempt(ids, everyone, t, t_end, dt, x, ends, slope0, slope1, step, path.errors[ids, k], ends))
    return ends, recorder.packed()


def in_order(tape: StepTape) -> Tensor:
    """Where each step begins (n, *s), trajectory 0's first, in time; the tape has kept them."""
    assert tape.states is not None
    return torch.cat(tape.states)[torch.cat(tape.ids).argsort(stable=True)]


class _Chain(torch.autograd.Function):
    """Ties the steps together: the adjoint of every step's end, by one pass of matrix products backward in time.

    lambda_k = (d x_(k+1) / d x_k)^T lambda_(k+1) + (what was saved within step k). The Jacobians are n backward passes of the
    whole batch; parameters are left to one more, which autograd makes itself from what is returned for `ends`.
    """

    @staticmethod
    def forward(ctx: Any, graph: tuple[Tensor, ...], ends: Tensor, xs: Tensor, x0: Tensor) -> tuple[Tensor, Tensor]:
        ctx.graph = graph
        count, first, *_ = graph
        last = (first + count - 1).clamp(0, max(len(ends) - 1, 0))
        moved = ends[last] if len(ends) else x0
        return torch.where(per_sample(count > 0, x0).bool(), moved, x0), xs.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        refuse_second("gradient: Replay(at_once=True) has first derivatives only; for second ones use ob.Replay().")
        (count, first, x, ends, xs), (g, gs) = ctx.graph, grads
        b, n = len(count), x[0].numel() if len(x) else 1
        with torch.enable_grad():
            flat = ends.flatten(1)
            rows = [torch.autograd.grad(flat[:, i].sum(), x, retain_graph=True)[0].flatten(1) for i in range(n)]
            saved = None
            if xs.requires_grad and bool((gs != 0).any()):
                saved = torch.autograd.grad(xs, x, gs, retain_graph=True, allow_unused=True)[0]
        jac = torch.stack(rows, 1)  # (steps, n, n): d end_i / d x_j
        enters = torch.zeros_like(x).flatten(1) if saved is None else saved.flatten(1)
        adjoint, back = g.flatten(1), torch.zeros_like(x).flatten(1)
        for k in range(int(count.max()) - 1, -1, -1):
            on = (count > k).nonzero()[:, 0]
            at = first[on] + k
            now = adjoint[on]
            back = back.index_copy(0, at, now)
            before = (jac[at] * now[:, :, None]).sum(1) + enters[at]
            adjoint = before if len(on) == b else adjoint.index_copy(0, on, before)
        return None, back.reshape(ends.shape), gs, adjoint.reshape(g.shape)
