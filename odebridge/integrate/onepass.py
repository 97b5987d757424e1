"""The kept steps with their graph in the pass that finds them: what is tried and kept by all need not be made again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from odebridge.core.protocols import Step, StepController
from odebridge.core.result import RUNNING
from odebridge.core.shapes import per_sample, take, tree_map
from odebridge.integrate.fused import Fused
from odebridge.integrate.gradient import end_slope
from odebridge.integrate.loops import After, Attempt, Lanes, attempt
from odebridge.integrate.save import At, Every, Last, Recorder, Save
from odebridge.integrate.system import BoundField
from odebridge.methods.explicit_rk import ExplicitRK


class OnePass:
    """Makes rounds for `reach`. A try that all lanes keep stays in the graph; otherwise its kept lanes make it again, alone.

    So no rejected, failed or finished lane is in the graph: 0 * inf behind a `where` would be nan. Decisions are made on
    detached numbers, and are those of `attempt`. The loop drops finished lanes at once (`share`), since they would cost a
    second try in every round. A compiled step needs a batch of one size: there the lanes that are out of it make the step of
    one that is in, whose derivative is finite, and nothing comes back from them.
    """

    def __init__(
        self, f: BoundField, x0: Tensor, slope: Tensor, method: ExplicitRK | Fused, save: Save | Recorder, keeper: Recorder
    ) -> None:
        self.whole, self.f, self.x, self.slope, self.method = f, f, x0, slope, method
        self.ids = torch.arange(len(x0), device=x0.device)
        self.save, self.keeper = save, keeper
        self.fixed = isinstance(method, Fused)
        self.share = 0.5 if self.fixed else 1.0
        self.parked: list[tuple[Tensor, Tensor]] = []
        self.steps: list[Attempt] = []

    def __call__(
        self, lanes: Lanes, f: BoundField, method: Any, controller: StepController, after: After | None, max_steps: int
    ) -> tuple[Lanes, Attempt]:
        """One round."""
        if len(lanes.ids) != len(self.ids):
            self._gather(lanes.ids)
        running = lanes.result == RUNNING
        taped = _Taped(self, self._places(running))
        lanes, tried = attempt(lanes, taped, taped, controller, None, max_steps)  # type: ignore[arg-type]
        assert taped.made is not None
        if bool(tried.kept.all()):
            end = taped.made.slope if taped.end is None else taped.end
            assert end is not None
            self._note(tried, self.x, self.slope, taped.made, end)
            self.x, self.slope = taped.made.x, end
            return lanes, tried
        index = tried.kept.nonzero()[:, 0]
        if len(index) == 0:
            return lanes, tried
        with torch.enable_grad():
            if not self.fixed:
                made, end = self._made(tried, index)
            else:
                good = bool((tried.kept == running).all())
                whole, end = (taped.made, taped.end) if good else self._made(tried, self._places(tried.kept))
                end = whole.slope if end is None else end
                made = take(Step(whole.x, stages=whole.stages), index)
                end = end.index_select(0, index)  # type: ignore[union-attr]
            assert end is not None
            slim = take(tried._replace(step=Step(tried.x1)), index)
            self._note(slim, self.x.index_select(0, index), self.slope.index_select(0, index), made, end)
            self.x = self.x.index_put((index,), made.x)
            self.slope = self.slope.index_put((index,), end)
        return lanes._replace(x=self.x.detach(), slope=self.slope.detach()), tried

    def _places(self, chosen: Tensor) -> Tensor | None:
        """Whose step each lane makes: its own if chosen, else that of the first that is; None: their own, all of them."""
        if not self.fixed or bool(chosen.all()) or not bool(chosen.any()):
            return None
        own = torch.arange(len(chosen), device=chosen.device)
        return torch.where(chosen, own, chosen.nonzero()[0, 0])

    def _made(self, tried: Attempt, index: Tensor | None) -> tuple[Step, Tensor | None]:
        """The step of the lanes `index` once more, with its graph, and the slope at its end."""
        assert index is not None
        t0, t1, dt, x, slope = (v.index_select(0, index) for v in (tried.t0, tried.t1, tried.dt, self.x, self.slope))
        some = self.f.take(index)
        made = self.method.advance(some, t0, x, dt, per_sample(dt, x), slope)
        return made, made.slope if made.slope is not None else end_slope(some, t1, made.x)

    def _gather(self, ids: Tensor) -> None:
        """Park the lanes that have left the batch; ids rise."""
        stay = torch.searchsorted(self.ids, ids)
        gone = torch.ones(len(self.ids), dtype=torch.bool, device=ids.device).index_fill(0, stay, False).nonzero()[:, 0]
        with torch.enable_grad():
            self.parked.append((self.ids[gone], self.x.index_select(0, gone)))
            self.x, self.slope = self.x.index_select(0, stay), self.slope.index_select(0, stay)
            self.ids, self.f = ids, self.whole.take(ids)

    def _note(self, tried: Attempt, x0: Tensor, slope0: Tensor, made: Step, slope1: Tensor) -> None:
        """The kept step of the present lanes, for what is saved of it."""
        if isinstance(self.save, Last):
            return
        step = Step(made.x, stages=made.stages)
        kept = tried._replace(x0=x0, x1=made.x, slope0=slope0, slope1=slope1, step=step, weights=x0)
        if isinstance(self.save, At):
            self.steps.append(kept)
            return
        with torch.enable_grad():
            self.keeper.take(kept)

    def ends(self) -> Tensor:
        """The last states (b, *s) with their graph; what is saved is handed to the keeper, for all steps at once."""
        if self.steps:
            self.keeper.take(self.steps[0] if len(self.steps) == 1 else tree_map(lambda *v: torch.cat(v), *self.steps))
        if not self.parked:
            return self.x
        parts = [*self.parked, (self.ids, self.x)]
        order = torch.cat([ids for ids, _ in parts]).argsort()
        return torch.cat([x for _, x in parts]).index_select(0, order)


class _Taped:
    """Method and field of one round as `attempt` sees them: their answers detached, the graph kept aside."""

    def __init__(self, tape: OnePass, places: Tensor | None) -> None:
        self.tape, self.places = tape, places
        self.made: Step | None = None
        self.end: Tensor | None = None

    @property
    def error_order(self) -> int | None:
        """As the method's."""
        return self.tape.method.error_order

    def step(self, field: Any, t: Tensor, x: Tensor, dt: Tensor, h: Tensor, slope: Tensor, memory: None) -> Step:
        """The try with its graph; the error estimate needs none."""
        tape = self.tape
        with torch.enable_grad():
            given = (t, tape.x, dt, h, tape.slope)
            f = tape.f
            if self.places is not None:
                given = tuple(v.index_select(0, self.places) for v in given)
                f = f.take(self.places)
            self.made = tape.method.advance(f, *given)
        plain: Step = tree_map(Tensor.detach, self.made)
        return plain._replace(error=tape.method.estimate(plain.stages, h))

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        """The slope at the end of the try, where the method does not know it."""
        assert self.made is not None
        with torch.enable_grad():
            self.end = end_slope(self.tape.f, t, self.made.x)
        return self.end.detach()


def in_one_pass(method: Any, save: Save | Recorder) -> bool:
    """Can the steps of this method be tried with their graph, and what is saved of them be kept."""
    return isinstance(method, (ExplicitRK, Fused)) and isinstance(save, (Last, At, Every))
