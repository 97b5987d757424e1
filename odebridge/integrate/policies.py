"""GRADIENTS: gradient policies by name, for the command line."""

from __future__ import annotations

from odebridge.integrate.adjoint import Adjoint
from odebridge.integrate.direct import Direct
from odebridge.integrate.replay import Replay

GRADIENTS: dict[str, Replay | Direct | Adjoint] = {
    "replay": Replay(),
    "replay-sqrt": Replay(checkpoints="sqrt"),
    "replay-at-once": Replay(at_once=True),
    "direct": Direct(),
    "adjoint": Adjoint(),
    "interpolated": Adjoint("interpolated"),
}


def policy(gradient: object) -> str:
    """Its name here, whatever its settings: "replay", "direct", "adjoint", "interpolated" or "forward"."""
    return "interpolated" if getattr(gradient, "state", "") == "interpolated" else type(gradient).__name__.lower()
