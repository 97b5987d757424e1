"""Where `torch.compile` must let go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def untraced(run: Callable[..., Any], *given: Any, **options: Any) -> Any:
    """run(*given, **options) outside of the graph: what decides on data, a solve over a span, is a break between two graphs."""
    disable: Any = torch.compiler.disable
    return disable(run)(*given, **options)
