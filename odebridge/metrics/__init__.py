"""How stiff, or how active, is it? Of an ODE solution, of our networks, of any residual network."""

from __future__ import annotations

from odebridge.metrics.local import local_error
from odebridge.metrics.profile import Profile, profile
from odebridge.metrics.refine import refine
from odebridge.metrics.spectrum import log_norm, spectral_radius, stiffness_ratio
from odebridge.metrics.stiffness import nsi, sai, tns

__all__ = [
    "Profile", "local_error", "log_norm", "nsi", "profile", "refine", "sai", "spectral_radius", "stiffness_ratio", "tns",
]  # fmt: skip
