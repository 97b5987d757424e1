"""ATTENTION: a new attention module is one file beside this one and one line here; tests and docs tables follow."""

from __future__ import annotations

from collections.abc import Callable

from odebridge.control.attention.base import Attention
from odebridge.control.attention.constant import Constant
from odebridge.control.attention.se import SE
from odebridge.control.attention.stepnet import StepNet

ATTENTION: dict[str, Callable[..., Attention]] = {  # built as Cls(channels, reduction=16)
    "constant": Constant,
    "se": SE,
    "stepnet": StepNet,
}
