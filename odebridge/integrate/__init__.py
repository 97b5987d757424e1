"""The loop that brings field, method and controller together."""

from odebridge.integrate.adjoint import Adjoint, DriftWarning
from odebridge.integrate.api import integrate
from odebridge.integrate.direct import Direct
from odebridge.integrate.events import Event
from odebridge.integrate.forward import Forward
from odebridge.integrate.replay import Replay
from odebridge.integrate.save import At, Dense, Every, Last
from odebridge.integrate.steady import steady_state

__all__ = [
    "Adjoint", "At", "Dense", "Direct", "DriftWarning", "Event", "Every", "Forward", "Last", "Replay", "integrate",
    "steady_state",
]  # fmt: skip
