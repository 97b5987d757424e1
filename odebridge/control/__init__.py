"""Step controllers: every answer to "how far from here?"."""

from odebridge.control.attention import SE, Attention, Constant, StepNet
from odebridge.control.attention.catalogue import ATTENTION
from odebridge.control.base import Controller, Fixed
from odebridge.control.catalogue import CONTROLLERS, list_controllers
from odebridge.control.classical import (
    H211B,
    H312,
    PI,
    PI34,
    PI42,
    PID,
    PREDICTIVE,
    Filter,
    I,
    Smaller,
)
from odebridge.control.compose import AtTimes, Bounded, PerStep

__all__ = [
    "ATTENTION", "CONTROLLERS", "H211B", "H312", "PI", "PI34", "PI42", "PID", "PREDICTIVE", "SE", "AtTimes", "Attention",
    "Bounded", "Constant", "Controller", "Filter", "Fixed", "I", "PerStep", "Smaller", "StepNet", "list_controllers",
]  # fmt: skip
