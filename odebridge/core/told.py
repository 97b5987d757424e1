"""Where a warning belongs: the line of the user that led to it, so that Python shows it once for each such line."""

from __future__ import annotations

import sys


def outside() -> int:
    """The `stacklevel` of the nearest caller that is not odebridge itself, seen from the function that asks."""
    frame, level = sys._getframe(1), 1  # pyright: ignore[reportPrivateUsage] - inspect.stack() reads source files
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == "odebridge":
        frame, level = frame.f_back, level + 1
    return level
