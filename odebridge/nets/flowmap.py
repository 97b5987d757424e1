"""A small residual network for vectors: learns where a flow carries a state."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from odebridge.core.protocols import Method
from odebridge.nets.gates import Gates, gates_of, per_block
from odebridge.nets.stage import Stage


class FlowMap(nn.Module):
    """x -> readout(stage(lift(x))): the state after some fixed time, from the state before. Built by `flow_map`."""

    def __init__(self, lift: nn.Module, stage: Stage, readout: nn.Module) -> None:
        super().__init__()
        self.lift, self.stage, self.readout = lift, stage, readout

    def forward(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """The state after the learned time."""
        return self.readout(self.stage(self.lift(x)))


def flow_map(
    dim: int,
    blocks: int = 8,
    hidden: int = 64,
    controller: str | Gates | None = None,
    lift: int | None = None,
    method: str | Method = "euler",
) -> FlowMap:
    """x_{k+1} = x_k + h_k W2 tanh(W1 x_k + b1), k < blocks, over one unit of depth: the spacing is 1 / blocks.

    h_k = 1 / blocks without a controller; "constant", "se", "stepnet" or a function of the channels scales that by a gate per
    component, one controller per block. lift: width of the space in which the steps are taken, with a linear map into it and
    one back; None: R^dim itself. Shapes: (b, dim) -> (b, dim). ValueError for fewer than one block.
    Caveat: in R^dim without a lift the gate of SE has round(dim / 16), at least 1, hidden units.
    Use: `ob.train.fit_loss(flow_map(3, blocks=8, controller="stepnet", lift=32), x0, x1)`.
    """
    if blocks < 1:
        raise ValueError(f"flow_map: blocks must be at least 1, got {blocks!r}.")
    width = dim if lift is None else lift
    layers = [nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, width)) for _ in range(blocks)]
    stage = Stage(layers, per_block(gates_of(controller), width, blocks), method=method, per_unit=blocks)
    if lift is None:
        return FlowMap(nn.Identity(), stage, nn.Identity())
    return FlowMap(nn.Linear(dim, lift), stage, nn.Linear(lift, dim))
