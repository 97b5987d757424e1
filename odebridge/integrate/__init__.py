"""The loop that brings field, method and controller together."""

from odebridge.integrate.api import integrate
from odebridge.integrate.gradient import Replay
from odebridge.integrate.save import At, Dense, Every, Last

__all__ = ["At", "Dense", "Every", "Last", "Replay", "integrate"]
