"""Step controllers: every answer to "how far from here?"."""

from odebridge.control.attention import (
    ATTENTION,
    CBAM,
    DIA,
    ECA,
    IE,
    SE,
    SGE,
    SPA,
    SRM,
    Attention,
    Constant,
    Half,
    RecurrentAttention,
    StepNet,
)
from odebridge.control.base import Controller, Fixed
from odebridge.control.calibrated import Calibrated, load
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
from odebridge.control.learned import LearnedStep
from odebridge.control.tuned import TUNED

__all__ = [
    "ATTENTION",
    "CBAM",
    "CONTROLLERS",
    "DIA",
    "ECA",
    "H211B",
    "H312",
    "IE",
    "PI",
    "PI34",
    "PI42",
    "PID",
    "PREDICTIVE",
    "SE",
    "SGE",
    "SPA",
    "SRM",
    "TUNED",
    "AtTimes",
    "Attention",
    "Bounded",
    "Calibrated",
    "Constant",
    "Controller",
    "Filter",
    "Fixed",
    "Half",
    "I",
    "LearnedStep",
    "PerStep",
    "RecurrentAttention",
    "Smaller",
    "StepNet",
    "list_controllers",
    "load",
]  # fmt: skip
