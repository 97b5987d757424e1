"""What a network costs: how many results of full size its operations write, and times that are compared in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class FullSize(TorchDispatchMode):
    """Counts results of at least `size` numbers that are not views, the backward pass included: what costs memory traffic.

    `small` counts the others. Use: `with FullSize(x.numel()) as cost: net(x).sum().backward()`.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.count, self.small = size, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        view = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        for result in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(result, Tensor) and not view:
                self.count += result.numel() >= self.size
                self.small += result.numel() < self.size
        return out


def in_turns(runs: Mapping[str, Callable[[], Any]], rounds: int, warm: int = 2) -> dict[str, list[float]]:
    """Processor seconds of every run in every round, one after the other in each, so that a busy machine slows all alike.

    Of the processor, all threads together: what else runs on the machine takes turns, and no time of ours. Every second round
    goes backwards: what the run before leaves in the caches is not always left to the same one.
    """
    for _ in range(warm):
        for run in runs.values():
            run()
    took: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(rounds):
        for name in list(runs) if i % 2 == 0 else reversed(list(runs)):
            began = time.process_time()
            runs[name]()
            took[name].append(time.process_time() - began)
    return took


def ratio(took: list[float], base: list[float]) -> dict[str, float]:
    """The median over the rounds of a time over that of another run in the same round, and the quartiles."""
    every = [a / b for a, b in zip(took, base, strict=True)]
    low, middle, high = statistics.quantiles(every, n=4)
    return {"ratio": middle, "low": low, "high": high, "rounds": len(every)}
