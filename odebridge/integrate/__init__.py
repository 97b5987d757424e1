"""The loop that brings field, method and controller together."""

from odebridge.integrate.api import integrate
from odebridge.integrate.events import Event
from odebridge.integrate.replay import Replay
from odebridge.integrate.save import At, Dense, Every, Last
from odebridge.integrate.steady import steady_state

__all__ = ["At", "Dense", "Event", "Every", "Last", "Replay", "integrate", "steady_state"]
