"""Attention as step control: modules that look at the state and its slope and answer "how far from here?", per channel."""

from __future__ import annotations

from odebridge.control.attention.base import Attention
from odebridge.control.attention.catalogue import ATTENTION
from odebridge.control.attention.constant import Constant
from odebridge.control.attention.se import SE
from odebridge.control.attention.stepnet import StepNet

__all__ = ["ATTENTION", "SE", "Attention", "Constant", "StepNet"]
