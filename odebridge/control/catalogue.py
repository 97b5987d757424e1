"""CONTROLLERS: a new law is one class or constant and one line here; the contract tests and the docs tables follow."""

from __future__ import annotations

from odebridge.control import classical
from odebridge.control.attention.catalogue import ATTENTION
from odebridge.control.base import Fixed
from odebridge.control.compose import Deadband
from odebridge.core.names import matching
from odebridge.core.protocols import StepController

CONTROLLERS: dict[str, StepController] = {
    "fixed": Fixed(),
    "i": classical.I,
    "pi": classical.PI,
    "pid": classical.PID,
    "h211b": classical.H211B,
    "predictive": classical.PREDICTIVE,
    "pi42": classical.PI42,
    "pi34": classical.PI34,
    "h312": classical.H312,
    "steady": Deadband(classical.I),
}


def list_controllers(pattern: str = "*") -> list[str]:
    """Names of the laws, classical and attention, that match a wildcard pattern: `ob.list_controllers("pi*")`."""
    return matching({**CONTROLLERS, **ATTENTION}, pattern)
