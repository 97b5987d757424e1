"""ATTENTION: a new attention module is one file beside this one and one line here; tests and docs tables follow."""

from __future__ import annotations

from collections.abc import Callable

from odebridge.control.attention.base import Attention, RecurrentAttention
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

ATTENTION: dict[str, Callable[..., Attention | RecurrentAttention]] = {  # built as Cls(channels, reduction=16)
    "constant": Constant,
    "half": Half,
    "se": SE,
    "eca": ECA,
    "srm": SRM,
    "cbam": CBAM,
    "spa": SPA,
    "ie": IE,
    "dia": DIA,
    "sge": SGE,
    "stepnet": StepNet,
}
