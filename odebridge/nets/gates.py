"""From what a user writes as `controller` to one controller per block."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from odebridge.control.attention.catalogue import ATTENTION
from odebridge.control.base import Fixed
from odebridge.control.compose import PerStep
from odebridge.core.names import lookup
from odebridge.core.protocols import StepController

Gates = Callable[[int], StepController]  # channels -> the controller of one block


def _fixed(_channels: int) -> Fixed:
    return Fixed()


def gates_of(controller: str | Gates | None) -> Gates:
    """None: steps as long as the spacing; a name of `ATTENTION`; or a function of the channels, called once per block.

    ValueError with the nearest names for an unknown one; TypeError for a finished module, which every block would share.
    """
    if controller is None:
        return _fixed
    if isinstance(controller, str):
        return lookup("attention module", controller, ATTENTION)
    if isinstance(controller, nn.Module) or not callable(controller):
        raise TypeError(
            "controller: give None, a name, or a function of the channels such as `lambda channels: SE(channels, 8)`, "
            f"called once per block; got {type(controller).__name__}."
        )
    return controller


def per_block(gates: Gates, channels: int, steps: int) -> StepController:
    """One controller per block, or one for all where it is made to be shared; without parameters one is enough too."""
    if gates is _fixed:
        return Fixed()
    first = gates(channels)
    return first if shared(first) else PerStep([first, *(gates(channels) for _ in range(steps - 1))])


def shared(controller: StepController) -> bool:
    """Is one such controller meant for all blocks of a stage, as DIA is."""
    return getattr(controller, "shared", False)
