"""How stiff, or how active, is it? Of an ODE solution, of our networks, of any residual network."""

from __future__ import annotations

from odebridge.metrics.local import local_error
from odebridge.metrics.profile import Profile, compare, profile
from odebridge.metrics.refine import refine
from odebridge.metrics.spectrum import log_norm, spectral_radius, stiffness_ratio
from odebridge.metrics.stiffness import nsi, sai, tns
from odebridge.metrics.variance import variance_shares

__all__ = [
    "Profile", "compare", "local_error", "log_norm", "nsi", "profile", "refine", "sai", "spectral_radius", "stiffness_ratio",
    "tns", "variance_shares",
]  # fmt: skip
