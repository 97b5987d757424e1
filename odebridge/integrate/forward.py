"""Forward: sensitivities by forward mode, for few parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp

from odebridge.core.derivatives import refuse_second
from odebridge.core.result import Result, Solution
from odebridge.core.shapes import dual, leaves, tree_map
from odebridge.integrate.at_once import ONE_STEP, in_order, made
from odebridge.integrate.gradient import Path, StepTape, walk
from odebridge.integrate.leaves import leaves_of
from odebridge.integrate.replay import Replay
from odebridge.integrate.save import At, Course, Last, Recorder, recorder, save_times
from odebridge.integrate.span import Task, only_arrived

MOST = 20_000_000  # numbers in the Jacobians of all steps, above which they are walked one by one


@dataclass(frozen=True)
class Forward:
    """Forward sensitivities dx/dp along the kept steps: memory does not grow with their number, work does with that of p.

    Inputs with tangents (`torch.func.jvp`, `torch.autograd.forward_ad`): x1, xs and dense output carry theirs; so they do with
    `Replay`. Inputs that require a gradient: the sensitivities to each of their numbers are found in the forward pass, one
    walk for each component of x0 and args, for t0, t1, the save times, and for each parameter of a field that is an
    nn.Module; the backward pass multiplies. Worth it for up to ten numbers or so, and for long solves. Methods whose steps
    depend on nothing but their start (explicit, Rosenbrock, Radau, Gauss) make all steps as one batch instead of walking.
    ValueError where the field reaches another tensor that requires a gradient (a closure), for events, and for other saves
    than `Last` and `At`. Source: Hairer, Norsett & Wanner I, I.14. Caveat: first derivatives.
    tell: called with the sensitivities themselves, {name: (dx1 (count, b, *s), dxs (count, b, k, *s))}; names are "x0", "t0",
    "t1", "times", ("args", i) for tensor i of args, ("field", name) for parameters; entry c is the derivative by the c-th
    number of each trajectory.
    Use: `ob.integrate(f, x0, (0.0, 9.0), args=p, gradient=ob.Forward())`.
    """

    tell: Callable[[dict[Any, tuple[Tensor, Tensor]]], None] | None = None

    def solve(self, task: Task) -> Solution:
        """The solution with tangents, or with a graph of one node."""
        if dual([task.slope, *task.course[:3], task.f.args]):
            return Replay().solve(task)
        if not isinstance(task.save, (Last, At)) or getattr(task.save, "of", None) is not None:
            raise ValueError("gradient: Forward keeps ob.Last() or ob.At(times); use ob.Replay() for other saves.")
        if task.extras.crossings is not None:
            raise ValueError("gradient: Forward does not differentiate events; use ob.Replay().")
        knobs = _Knobs.of(task)
        tape = StepTape(states=[] if isinstance(task.method, ONE_STEP) and task.extras.jumps is None else None)
        with torch.no_grad():
            steps = replace(task.without_graph(), save=Last()).found(tape)
            walked = _Walk(task.without_graph(), knobs, tape, steps)
            x1, xs = walked(*(v.detach() for v in knobs.values))
            columns = walked.at_once() or [walked.columns(i) for i in range(len(knobs.values))]
            saved = walked.saved
            if self.tell is not None:
                self.tell(dict(zip(knobs.names, columns, strict=True)))
        x1, xs = _Columns.apply(columns, knobs.names, x1, xs, *knobs.values)  # type: ignore[misc]
        ts = saved if isinstance(task.save, At) else None
        end = torch.where(steps.result == int(Result.OK), task.course.t1, steps.end)
        return replace(steps, x1=x1, ts=ts, xs=xs if isinstance(task.save, At) else None, end=end)


class _Knobs(NamedTuple):
    """What is turned: values, how each goes into a task, and which of them all trajectories share."""

    values: list[Tensor]
    names: list[Any]
    shared: list[bool]

    @classmethod
    def of(cls, task: Task) -> _Knobs:
        course, field = task.course, task.f.field
        found: list[tuple[Tensor, Any, bool]] = [(course.x0, "x0", False), (course.t0, "t0", False), (course.t1, "t1", False)]
        found += [(v, ("args", i), False) for i, v in enumerate(leaves(task.f.args))]
        if isinstance(task.save, At):
            found.append((save_times(task.save, course), "times", False))
        named = dict(field.named_parameters()) if isinstance(field, nn.Module) else {}
        found += [(v, ("field", name), True) for name, v in named.items()]
        plain = task.without_graph()
        for leaf in leaves_of(plain.f, course.t0, course.x0):
            if all(leaf is not v for v in named.values()):
                raise ValueError(
                    f"gradient: the field uses a tensor of shape {tuple(leaf.shape)} that requires a gradient and is neither "
                    "in args nor a parameter of a field that is an nn.Module, so Forward would lose it; pass it as args, or "
                    "use ob.Replay()."
                )
        wanted = [entry for entry in found if entry[0].requires_grad]
        return cls(*(list(v) for v in zip(*wanted, strict=True))) if wanted else cls([], [], [])


class _Walk:
    """x1 and xs as a function of the knobs, along steps that are known."""

    def __init__(self, task: Task, knobs: _Knobs, tape: StepTape, steps: Solution) -> None:
        self.task, self.knobs, self.tape, self.steps = task, knobs, tape, steps
        self.saved: Tensor | None = None

    def __call__(self, *values: Tensor) -> tuple[Tensor, Tensor]:
        path, keeper = self._path(values)
        x1, _, keeper, _ = walk(path, keeper)
        packed = keeper.packed()
        self.saved = None if packed.ts is None else packed.ts.detach()
        x1 = only_arrived(x1, self.steps.codes)
        return x1, x1[:, None][:, :0] if packed.xs is None else packed.xs

    def _path(self, values: Sequence[Tensor]) -> tuple[Path, Recorder]:
        """The kept steps and a recorder with these values of the knobs."""
        task, given = self.task, dict(zip(self.knobs.names, values, strict=True))
        x0, t0, t1 = (given.get(k, v) for k, v in zip(("x0", "t0", "t1"), task.course[:3], strict=True))
        course = Course(x0, t0, t1, task.course.sign)
        numbers = iter(range(len(leaves(task.f.args))))
        f = replace(task.f, args=tree_map(lambda v: given.get(("args", next(numbers)), v), task.f.args))
        parameters = {k[1]: v for k, v in given.items() if isinstance(k, tuple) and k[0] == "field"}
        if parameters:
            f = replace(f, field=_Called(task.f.field, parameters))
        save = replace(task.save, times=given["times"]) if "times" in given else task.save  # type: ignore[arg-type]
        stopped = self.steps.result != int(Result.OK)
        path = Path(self.tape, f, course, task.method, task.after, isinstance(save, At), task.extras.jumps, stopped)
        return path, recorder(save, course, task.method, task.after is not None)

    def at_once(self) -> list[tuple[Tensor, Tensor]] | None:
        """As `columns` for every knob, from one batch of all steps; None where steps do not stand alone, or are too many.

        With A_k = d x_(k+1) / d x_k and b_k the derivative of step k by a knob, S_(k+1) = A_k S_k + b_k; what is saved within
        step k changes with its start by S_k.
        """
        values = [v.detach().clone() for v in self.knobs.values]
        path, _ = self._path(values)
        n = self.task.course.x0[0].numel()
        if self.tape.states is None or path.steps == 0 or bool((path.count == 0).any()) or int(path.count.sum()) * n * n > MOST:
            return None
        states = in_order(self.tape)

        def run(x: Tensor, *turned: Tensor) -> tuple[Tensor, Tensor]:
            here, keeper = self._path(turned)
            ends, saved = made(here, x, keeper)
            self.saved = None if saved.ts is None else saved.ts.detach()
            return ends, ends[:0] if saved.xs is None else saved.xs

        eye = torch.eye(n, dtype=states.dtype, device=states.device)
        still: list[Tensor] = [torch.zeros_like(v) for v in values]
        along = [jvp(run, (states, *values), (e.repeat(len(states), 1).reshape(states.shape), *still))[1][0] for e in eye]
        jac = torch.stack([a.flatten(1) for a in along], 2)  # (steps, n, n)
        found = []
        for i, name in enumerate(self.knobs.names):
            ends, kept = [], []
            for tangent in self._tangents(i):
                turned = [*still[:i], tangent, *still[i + 1 :]]
                x1, begins = self._scanned(path, run, jac, states, values, turned, name)
                ends.append(only_arrived(x1, self.steps.codes))
                saves = isinstance(self.task.save, At)
                kept.append(jvp(run, (states, *values), (begins, *turned))[1][1] if saves else x1[:, None][:, :0])
            found.append((torch.stack(ends), torch.stack(kept)))
        return found

    def _scanned(
        self, path: Path, run: Any, jac: Tensor, states: Tensor, values: list[Tensor], turned: list[Tensor], name: Any
    ) -> tuple[Tensor, Tensor]:
        """S at the end of every trajectory (b, *s) and at the start of every step (steps, *s)."""
        x0 = self.task.course.x0
        own, now = torch.zeros_like(states).flatten(1), torch.zeros_like(x0).flatten(1)
        if name == "x0":
            now = turned[self.knobs.names.index("x0")].flatten(1)
        elif name != "times":
            own = jvp(run, (states, *values), (torch.zeros_like(states), *turned))[1][0].flatten(1)
        begins = torch.zeros_like(own)
        for k in range(path.steps):
            on = (path.count > k).nonzero()[:, 0]
            at, s = path.first[on] + k, now[on]
            begins[at] = s
            now = now.index_copy(0, on, (jac[at] * s[:, None, :]).sum(2) + own[at])
        return now.reshape(x0.shape), begins.reshape(states.shape)

    def columns(self, i: int) -> tuple[Tensor, Tensor]:
        """Derivatives of x1 and xs by each number of knob i, stacked in front; a number of each trajectory is one column."""
        values = [v.detach().clone() for v in self.knobs.values]

        def run(one: Tensor) -> tuple[Tensor, Tensor]:
            return self(*values[:i], one, *values[i + 1 :])

        parts = [jvp(run, (values[i],), (tangent,))[1] for tangent in self._tangents(i)]
        return torch.stack([p[0] for p in parts]), torch.stack([p[1] for p in parts])

    def _tangents(self, i: int) -> list[Tensor]:
        """The directions in which knob i is turned."""
        v, kind = self.knobs.values[i].detach(), self.knobs.names[i]
        if kind in ("t0", "t1", "times"):  # each saved state depends on its own time only
            return [torch.ones_like(v)]
        rows = 1 if self.knobs.shared[i] else len(v)
        eye = torch.eye(v.numel() // rows, dtype=v.dtype, device=v.device)
        return [e.repeat(rows, 1).reshape(v.shape) for e in eye]


class _Called(nn.Module):
    """A module with other parameters."""

    def __init__(self, module: Callable[..., Tensor], parameters: dict[str, Tensor]) -> None:
        super().__init__()
        self.call = lambda *given: functional_call(module, parameters, given)  # type: ignore[arg-type]

    def forward(self, *given: Any) -> Tensor:
        """The field."""
        return self.call(*given)


class _Columns(torch.autograd.Function):
    """x1 and xs with their sensitivities known."""

    @staticmethod
    def forward(ctx: Any, columns: Any, names: list[Any], x1: Tensor, xs: Tensor, *knobs: Tensor) -> tuple[Tensor, Tensor]:
        ctx.columns, ctx.names, ctx.shapes = columns, names, [v.shape for v in knobs]
        return x1.clone(), xs.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        refuse_second("gradient: Forward has first derivatives only; for second ones use ob.Replay().")
        g1, gs = grads
        out = []
        for (c1, cs), name, shape in zip(ctx.columns, ctx.names, ctx.shapes, strict=True):
            end, kept = _times(g1, c1), _times(gs, cs)  # (columns, b, ...)
            if name[0] == "field":
                out.append((end.flatten(1).sum(1) + kept.flatten(1).sum(1)).reshape(shape))
            elif name == "times":  # one for each kept state
                out.append(kept.flatten(3).sum(3)[0])
            else:
                out.append((end.flatten(2).sum(2) + kept.flatten(2).sum(2)).T.reshape(shape))
        return None, None, None, None, *out


def _times(g: Tensor, columns: Tensor) -> Tensor:
    """Products; a state that was not reached has no part in them."""
    return torch.where(g == 0, 0.0, g * columns)
