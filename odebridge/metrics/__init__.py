"""How stiff, or how active, is it? Of an ODE solution, of our networks, of any residual network."""

from __future__ import annotations

from odebridge.metrics.profile import Profile, profile
from odebridge.metrics.stiffness import nsi, sai, tns

__all__ = ["Profile", "nsi", "profile", "sai", "tns"]
