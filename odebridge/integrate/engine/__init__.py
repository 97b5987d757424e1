"""The compiled loop: `integrate(..., compile=True)`. One try becomes one C++ function over a few trajectories at a time."""

from odebridge.integrate.engine.driver import Engine
from odebridge.integrate.engine.refuse import engine

__all__ = ["Engine", "engine"]
