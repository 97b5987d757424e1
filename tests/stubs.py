"""Methods and controllers with scripted answers: they isolate the loop from the numerics."""

from dataclasses import dataclass, field

import torch

from odebridge.core.protocols import Counts, Step


@dataclass
class ScriptedMethod:
    """Adds h to the state and reports errors from a script, per call: a list of (b,) lists; the last one repeats."""

    errors: list
    name: str = "scripted"
    order: int = 1
    error_order: int | None = 1
    dense_order: int = 1
    law: str = "i"
    seen: list = field(default_factory=list)

    def start(self, f, t, x):
        return torch.zeros(len(x), dtype=torch.int64)

    def step(self, f, t, x, dt, h, slope, memory):
        script = self.errors[min(len(self.seen), len(self.errors) - 1)]
        self.seen.append((t.clone(), dt.clone(), memory.clone()))
        error = torch.tensor(script, dtype=x.dtype).expand(len(x))[:, None].expand_as(x)
        return Step(x + h, error, slope, memory + 1, memory + 100, None, cost=Counts(f_evals=3))

    def interpolant(self, x0, slope0, slope1, h, step):
        return (step.x - x0,)


@dataclass
class ScriptedLaw:
    """Answers with sizes from a script and remembers what it was shown."""

    sizes: list
    seen: list = field(default_factory=list)

    def start(self, x, tol):
        return torch.zeros(len(x), dtype=torch.float64)

    def __call__(self, seen, memory):
        self.seen.append(seen)
        size = self.sizes[min(len(self.seen) - 1, len(self.sizes) - 1)]
        return torch.full((len(seen.x),), float(size), dtype=torch.float64), memory + 1

    def accepts(self, error, memory):
        return error <= 1.0
