"""Attention as step control: modules that look at the state and its slope and answer "how far from here?", per channel."""

from __future__ import annotations

from odebridge.control.attention.base import Attention, RecurrentAttention
from odebridge.control.attention.catalogue import ATTENTION
from odebridge.control.attention.cbam import CBAM
from odebridge.control.attention.constant import Constant
from odebridge.control.attention.dia import DIA
from odebridge.control.attention.eca import ECA
from odebridge.control.attention.half import Half
from odebridge.control.attention.ie import IE
from odebridge.control.attention.se import SE
from odebridge.control.attention.sge import SGE
from odebridge.control.attention.spa import SPA
from odebridge.control.attention.srm import SRM
from odebridge.control.attention.stepnet import StepNet

__all__ = [
    "ATTENTION", "CBAM", "DIA", "ECA", "IE", "SE", "SGE", "SPA", "SRM", "Attention", "Constant", "Half", "RecurrentAttention",
    "StepNet",
]  # fmt: skip
