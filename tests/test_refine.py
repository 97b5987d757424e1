"""Finer steps of the same weights, and the local error that they mend."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from odebridge.control.attention import ATTENTION
from odebridge.core.over import Grid
from odebridge.integrate import integrate
from odebridge.metrics import local_error, profile, refine
from odebridge.nets import Stage, flow_map, resnet

GATES = [None, "constant", "se", "dia", "cbam"]


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("style", ["preact", "paper"])
def test_one_substep_is_the_network_and_two_are_not(gate: str | None, style: str) -> None:
    torch.manual_seed(0)
    net, x = resnet(14, gate, 1, 10, width=8, style=style), torch.randn(4, 1, 8, 8)
    net(x)  # running averages
    net.eval()
    torch.testing.assert_close(refine(net, 1)(x), net(x))
    finer = refine(net, 2)(x)
    assert torch.isfinite(finer).all()
    assert not torch.allclose(finer, net(x), atol=1e-3)


def test_refined_stages_converge_to_the_flow_of_each_block() -> None:
    torch.manual_seed(0)
    net, x = flow_map(3, 4, 16, "se").double().eval(), torch.randn(5, 3, dtype=torch.float64)
    y = x
    for i, block in enumerate(net.stage.field.blocks):
        law = net.stage.controller.controllers[i]
        y = integrate(
            lambda t, v, b=block, g=law: g.gate(v, b(v)) * b(v), y, (0.0, 0.25), method="tsit5", rtol=1e-10, atol=1e-12
        ).x1
    off = [float((refine(net, k)(x) - y).abs().max()) for k in (4, 8, 16)]
    assert off[0] / off[1] == pytest.approx(2.0, rel=0.2)  # Euler: order 1
    assert off[1] / off[2] == pytest.approx(2.0, rel=0.2)
    assert float((refine(net, 8, method="rk4")(x) - y).abs().max()) < 1e-7


def test_a_refined_network_has_the_weights_of_the_model() -> None:
    net = resnet(8, "constant", 1, 10, width=8)
    fine, x = refine(net, 4), torch.randn(2, 1, 8, 8)
    before = fine(x)
    assert net.training
    assert not fine.training
    with torch.no_grad():
        net.head[-1].bias.add_(1.0)
    torch.testing.assert_close(fine(x), before + 1.0)


class Stranger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks, self.out = nn.Linear(2, 4), nn.Sequential(Skip(), Skip()), nn.Linear(4, 3)

    def forward(self, x):
        return self.out(self.blocks(self.stem(x)))


class Skip(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))

    def forward(self, x):
        return x + self.f(x)


def test_blocks_of_strangers_are_refined_and_measured() -> None:
    torch.manual_seed(0)
    net, x = Stranger().eval(), torch.randn(6, 2)
    torch.testing.assert_close(refine(net, 1, images=x)(x), net(x))
    y = net.stem(x)
    for block in net.blocks:
        for _ in range(3):
            y = y + block.f(y) / 3
    torch.testing.assert_close(refine(net, 3, images=x)(x), net.out(y))
    found = profile(net, x, errors=True)
    z = net.stem(x)
    torch.testing.assert_close(found.local_error[:, 0], local_error(lambda t, v: net.blocks[0].f(v), 0.0, z).detach())
    with pytest.raises(ValueError, match="images"):
        refine(net, 2)
    with pytest.raises(ValueError, match="substeps"):
        refine(net, 0, images=x)


def test_local_error_of_a_linear_field_is_that_of_euler() -> None:
    h, x = 0.1, torch.tensor([[1.0, 2.0], [3.0, -1.0]], dtype=torch.float64)
    off = local_error(lambda t, v: -2.0 * v, 0.0, x, h)
    expected = abs(1 - 2 * h - float(torch.exp(torch.tensor(-2 * h))))
    torch.testing.assert_close(off, torch.full((2,), expected, dtype=torch.float64), rtol=1e-4, atol=0)
    heun = local_error(lambda t, v: -2.0 * v, 0.0, x, h, method="heun")
    assert (heun < 0.1 * off).all()


@pytest.mark.parametrize("gate", GATES)
def test_the_profile_has_the_local_error_of_every_block(gate: str | None) -> None:
    torch.manual_seed(0)
    net, x = resnet(14, gate, 1, 10, width=8, style="paper").eval(), torch.randn(3, 1, 8, 8)
    found = profile(net, x, errors=True)
    assert found.local_error.shape == found.nsi.shape
    assert (found.local_error > 0).all()
    assert profile(net, x).local_error is None
    stage = Stage([nn.Linear(4, 4) for _ in range(2)], per_unit=2).double()
    y = torch.randn(5, 4, dtype=torch.float64)
    got = profile(stage, y, errors=True).local_error[:, 1]
    y1 = integrate(stage.field, y, Grid((0.0, 0.5)), method="euler").x1
    torch.testing.assert_close(got, local_error(lambda t, v: stage.field.blocks[1](v), 0.0, y1, 0.5).detach())


def test_every_gate_of_the_catalogue_can_be_refined() -> None:
    for gate in ATTENTION:
        net, x = resnet(8, gate, 1, 4, width=8).eval(), torch.randn(2, 1, 8, 8)
        assert refine(net, 2)(x).shape == (2, 4)
