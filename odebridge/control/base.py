"""The abstract controller, and the one that always answers "as far as you suggest"."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from odebridge.core.protocols import Observation
from odebridge.core.tolerance import Tolerance


class Controller(ABC):
    """A law without trainable parameters: h, memory = law(seen, memory), with h (b,) over a span.

    Settings are frozen, its memory goes in and out: tensors with leading dimension b in any nesting. x (b, *s), errors (b,).
    Use: a class that derives from it and has a `__call__(self, seen, memory)`; tutorial 3 writes one.
    """

    def start(self, x: Tensor, tol: Tolerance | None) -> Any:
        """Memory for one solve; none by default."""
        return None

    @abstractmethod
    def __call__(self, seen: Observation, memory: Any) -> tuple[Any, Any]:
        """Size of the next step and the new memory."""

    def accepts(self, error: Tensor, memory: Any) -> Tensor:
        """A try is kept if its scaled error is at most 1."""
        return error <= 1.0


@dataclass(frozen=True)
class Fixed(Controller):
    """h' = h: the first step over a span, the spacing on a grid. Every finite try is kept, whatever its error.

    Use: `ob.integrate(f, x0, (0.0, 1.0), method="rk4", controller="fixed", first_step=0.01)`.
    """

    def __call__(self, seen: Observation, memory: None) -> tuple[Any, None]:
        """The suggestion as it is."""
        return seen.h, None

    def accepts(self, error: Tensor, memory: Any) -> Tensor:
        """Every try: True for each scaled error (b,)."""
        return torch.ones_like(error, dtype=torch.bool)
