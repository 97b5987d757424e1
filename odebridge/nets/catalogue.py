"""MODELS: networks by name; a new one is one function and one line here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from odebridge.control.attention.catalogue import ATTENTION
from odebridge.core.names import matching
from odebridge.nets.flowmap import flow_map
from odebridge.nets.resnet import imagenet_resnet, resnet

BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "resnet20": partial(resnet, depth=20),
    "resnet56": partial(resnet, depth=56),
    "resnet164": partial(resnet, depth=164, style="paper"),
    "resnet18": partial(imagenet_resnet, depth=18),
    "resnet34": partial(imagenet_resnet, depth=34),
    "resnet50": partial(imagenet_resnet, depth=50),
    "flowmap": flow_map,
}

# "resnet20" has steps of 1; "resnet20_se" asks an SE module per block, and so on for every attention module.
MODELS: dict[str, Callable[..., nn.Module]] = {
    f"{name}_{gate}" if gate else name: partial(build, controller=gate)
    for name, build in BACKBONES.items()
    for gate in (None, *ATTENTION)
}


def list_models(pattern: str = "*") -> list[str]:
    """Names of the networks that match a wildcard pattern: `ob.list_models("*step*")`; `MODELS[name]()` builds one."""
    return matching(MODELS, pattern)
