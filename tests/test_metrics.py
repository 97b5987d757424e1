"""Indices against hand formulas; profiles of our networks and of strangers."""

from __future__ import annotations

import math

import matplotlib
import pytest
import torch
from torch import Tensor, nn

from odebridge.integrate import Every
from odebridge.metrics import nsi, profile, sai, tns
from odebridge.nets import Stage, flow_map, resnet

matplotlib.use("agg")


def test_nsi_by_hand() -> None:
    xs = torch.tensor([[[3.0, 4.0], [3.0, 4.0], [0.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [1.0, 2.0], [0.0, 0.0], [0.0, 0.0]]])
    index = nsi(xs)
    assert index.shape == (2, 3)
    torch.testing.assert_close(index[0], torch.tensor([0.0, 1.0, 1e8]))
    torch.testing.assert_close(index[1], torch.tensor([2.0, 1.0, 0.0]))
    torch.testing.assert_close(tns(xs)[1], torch.tensor(3.0))
    torch.testing.assert_close(tns(xs, mean=True)[1], torch.tensor(1.0))


def test_nsi_is_per_sample_over_the_flattened_state() -> None:
    torch.manual_seed(0)
    xs = torch.randn(3, 4, 5, 6, 7, dtype=torch.float64)
    for b in range(3):
        for k in range(3):
            expected = (xs[b, k + 1] - xs[b, k]).flatten().norm() / xs[b, k].flatten().norm()
            assert nsi(xs)[b, k].item() == pytest.approx(expected.item(), rel=1e-7)
    assert torch.equal(nsi(xs)[1:2], nsi(xs[1:2]))


def test_nsi_of_half_precision_does_not_overflow() -> None:
    xs = torch.full((1, 2, 1000), 2000.0, dtype=torch.float16)
    xs[:, 1] *= 2
    assert nsi(xs).item() == pytest.approx(1.0)


def test_sai_of_an_exponential_is_its_rate() -> None:
    rate, ts = 5.0, torch.tensor([[0.0, 1e-5, 3e-5, 7e-5], [0.5, 0.50001, 0.50002, math.nan]], dtype=torch.float64)
    xs = torch.exp(-rate * ts)[..., None].expand(-1, -1, 3)
    index = sai(xs, ts)
    torch.testing.assert_close(index[0], torch.full((3,), rate, dtype=torch.float64), rtol=1e-3, atol=0)
    assert torch.isnan(index[1]).tolist() == [False, False, True]
    torch.testing.assert_close(sai(xs[:1].flip(1), ts[0].flip(0)), index[:1].flip(1), rtol=1e-3, atol=0)
    torch.testing.assert_close(sai(xs[:1], ts[0]), index[:1])
    with pytest.raises(ValueError, match="ts must have shape"):
        sai(xs, ts[:, :2])


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 1, 3)])
def test_too_few_states_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="two states"):
        nsi(torch.zeros(shape))


@pytest.mark.parametrize("gate", [None, "stepnet", "constant"])
def test_profile_of_ours_is_what_solve_says(gate: str | None) -> None:
    torch.manual_seed(0)
    net, x = resnet(20, gate, 1, 10, width=8, style="paper"), torch.randn(6, 1, 8, 8)
    found = profile(net, x)
    assert found.names == ("body.0[0]", "body.0[1]", "body.0[2]", "body.2[0]", "body.2[1]", "body.4[0]", "body.4[1]")
    assert found.nsi.shape == (6, 7)
    torch.testing.assert_close(found.tns, found.nsi.sum(1))
    net.eval()
    sol = net.body[0].solve(net.stem(x), save=Every())
    assert torch.equal(found.nsi[:, :3], nsi(sol.xs).detach())
    assert torch.equal(found.steps[1], sol.hs[:, 1].detach())
    assert len(found.plot("ResNet").axes) == 2


def test_profile_of_a_flow_map_and_of_a_compiled_network() -> None:
    found = profile(flow_map(3, 4, 8, "se"), torch.randn(5, 3))
    assert found.names == tuple(f"stage[{i}]" for i in range(4))
    torch._dynamo.reset()
    net, x = resnet(14, "se", 1, 10, width=4), torch.randn(2, 1, 8, 8)
    compiled = torch.compile(net, backend="eager")
    compiled(x)
    net.eval()
    assert torch.equal(profile(compiled, x).nsi, profile(net, x).nsi)
    assert profile(compiled, x).names == profile(net, x).names


class Gate(nn.Module):
    """An SE layer as timm writes it: same shape in and out, convolutions inside, and no residual block."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(c, 2, 1), nn.Conv2d(2, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class Basic(nn.Module):
    """A torchvision-like block."""

    def __init__(self, c: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1), nn.BatchNorm2d(out)
        self.se, self.relu = Gate(out), nn.ReLU(inplace=True)
        self.downsample = nn.Conv2d(c, out, 1, stride) if stride != 1 or c != out else None

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.downsample is None else self.downsample(x)
        out = self.se(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))
        out += skip
        return self.relu(out)


class Attend(nn.Module):
    """A transformer block."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(c), nn.LayerNorm(c)
        self.attn = nn.MultiheadAttention(c, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(c, 2 * c), nn.GELU(), nn.Linear(2 * c, c))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attn(y, y, y)[0]
        return x + self.mlp(self.norm2(x))


def stranger() -> nn.Sequential:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU())
    first = nn.Sequential(Basic(8, 8), Basic(8, 8))
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 1, 1), nn.ReLU(), plain, first, Basic(8, 12, 2), Basic(12, 12), nn.Flatten(), nn.Linear(192, 5)
    )


def test_profile_of_a_stranger_finds_its_residual_blocks_only() -> None:
    net, x = stranger(), torch.randn(4, 1, 8, 8)
    found = profile(net, x)
    assert found.names == ("3.0", "3.1", "5")
    assert found.steps == (None, None, None)
    net.eval()
    with torch.no_grad():
        before = net[:3](x)
        after = net[3][0](before)
    torch.testing.assert_close(found.nsi[:, 0], (after - before).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1))
    assert len(found.plot().axes) == 1


def test_profile_of_a_transformer() -> None:
    found = profile(nn.Sequential(nn.Linear(4, 8), Attend(8), Attend(8)), torch.randn(3, 5, 4))
    assert found.names == ("1", "2")
    assert profile(Attend(8), torch.randn(3, 5, 8)).names == ("Attend",)


def test_profile_leaves_the_model_as_it_was() -> None:
    net, x = stranger(), torch.randn(4, 1, 8, 8)
    net[4].eval()
    modes = [m.training for m in net.modules()]
    state = {k: v.clone() for k, v in net.state_dict().items()}
    profile(net, x)
    with pytest.raises(RuntimeError):
        profile(net, torch.randn(4, 1, 9, 9))
    assert [m.training for m in net.modules()] == modes
    assert all(not m._forward_hooks for m in net.modules())
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert net(x).requires_grad


def test_profile_without_blocks_says_so() -> None:
    with pytest.raises(ValueError, match="no residual block"):
        profile(nn.Sequential(nn.Linear(3, 3), nn.ReLU()), torch.zeros(1, 3))


def test_profile_of_a_bare_stage() -> None:
    stage = Stage([nn.Linear(3, 3), nn.Linear(3, 3)])
    assert profile(stage, torch.randn(2, 3)).names == ("Stage[0]", "Stage[1]")
