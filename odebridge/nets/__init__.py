"""Residual networks as integrators: a stage of n blocks is n steps of a solver."""

from __future__ import annotations

from odebridge.nets.branches import PostActBranch, PreActBranch
from odebridge.nets.catalogue import MODELS, list_models
from odebridge.nets.continuous import ContinuousStage, step_counts
from odebridge.nets.depth import Interpolated, Tied
from odebridge.nets.fields import Layers
from odebridge.nets.flowmap import FlowMap, flow_map
from odebridge.nets.gated import Gated
from odebridge.nets.resnet import ResNet, imagenet_resnet, resnet
from odebridge.nets.stage import Entered, Stage, Transition

__all__ = [
    "MODELS",
    "ContinuousStage",
    "Entered",
    "FlowMap",
    "Gated",
    "Interpolated",
    "Layers",
    "PostActBranch",
    "PreActBranch",
    "ResNet",
    "Stage",
    "Tied",
    "Transition",
    "flow_map",
    "imagenet_resnet",
    "list_models",
    "resnet",
    "step_counts",
]
