"""Stages of continuous depth: the loop by hand, orders of methods, interpolated weights, a clock for every sample."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from odebridge.cli import app
from odebridge.control.attention import SE
from odebridge.integrate import Every
from odebridge.metrics import profile
from odebridge.nets import ContinuousStage, Interpolated, PreActBranch, Stage, Tied, resnet, step_counts
from odebridge.nets.branches import NORMS, group_norm

C = 8


def branch() -> PreActBranch:
    return PreActBranch(C, norm=group_norm)


def smooth() -> nn.Module:
    """A block without kinks, so that a method can show its order."""
    return nn.Sequential(nn.Conv2d(C, C, 3, padding=1), nn.Tanh(), nn.Conv2d(C, C, 3, padding=1))


def made(build, kind: type = Tied):
    torch.manual_seed(0)
    return kind(build()) if kind is Tied else kind([build() for _ in range(4)])


def images(b: int = 3) -> Tensor:
    return torch.randn(b, C, 5, 5, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("steps", [None, 6])
def test_tied_euler_is_the_loop_by_hand(steps: int | None) -> None:
    field, x = made(branch), images()
    stage, h = ContinuousStage(field, 3, steps=steps), 3 / (steps or 3)
    y = x
    for _ in range(steps or 3):
        y = y + (field.block(y) if h == 1.0 else h * field.block(y))
    assert torch.equal(stage(x), y)


def test_tied_euler_with_a_gate_is_the_loop_by_hand() -> None:
    field, x, gate = made(branch), images(), SE(C)
    y = x
    for _ in range(3):
        f = field.block(y)
        y = y + gate.gate(y, f) * f
    assert torch.equal(ContinuousStage(field, 3, controller=gate)(x), y)


def test_linear_euler_at_the_knots_is_the_network_of_layers() -> None:
    field, x = made(branch, Interpolated), images()
    assert torch.equal(ContinuousStage(field, 4)(x), Stage(field.blocks)(x))


@pytest.mark.parametrize("kind", [Tied, Interpolated])
@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("heun", 2), ("rk4", 4)])
def test_every_scheme_shows_its_order(kind: type, method: str, order: int) -> None:
    field, x = made(smooth, kind).double(), images().double()
    exact = ContinuousStage(field, 4, method="rk4", steps=256)(x)  # on the knots, where the slope has its kinks
    errors = [float((ContinuousStage(field, 4, method=method, steps=n)(x) - exact).detach().norm()) for n in (16, 32)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.35)


@pytest.mark.parametrize("kind", [Tied, Interpolated])
def test_weights_are_the_same_with_one_clock_and_with_a_clock_each(kind: type) -> None:
    field, x = made(branch, kind), images(4)
    for t in (0.0, 0.25, 1.0, 2.6, 3.0, 3.7):
        torch.testing.assert_close(field.clocked(torch.full((4,), t), x), field(t, x), rtol=1e-5, atol=1e-6)
    clocks = torch.tensor([0.0, 0.3, 2.9, 5.0])
    alone = torch.cat([field(float(t), x[i : i + 1]) for i, t in enumerate(clocks)])
    torch.testing.assert_close(field.clocked(clocks, x), alone, rtol=1e-5, atol=1e-6)


def test_interpolated_weights_lie_on_the_line_between_two_blocks() -> None:
    torch.manual_seed(0)
    field, x = Interpolated([nn.Linear(C, C) for _ in range(3)]), torch.randn(2, C)
    a, b = field.blocks[1](x), field.blocks[2](x)  # linear in the weights, so the increments lie on a line too
    torch.testing.assert_close(field(1.25, x), 0.75 * a + 0.25 * b)
    assert torch.equal(field(2.9, x), b)  # held beyond the last knot
    assert torch.equal(field(3 * (1 / 3), x), a)  # a hair beside a knot is the knot


@pytest.mark.parametrize("kind", [Tied, Interpolated])
def test_adaptive_steps_are_each_samples_own(kind: type) -> None:
    field, x = made(smooth, kind).double(), images(4).double() * torch.tensor([0.01, 1.0, 5.0, 20.0])[:, None, None, None]
    stage = ContinuousStage(field, 4, method="dopri5", rtol=1e-6)
    sol = stage.solve(x, save=Every())
    assert len(set(sol.stats.accepted.tolist())) > 1  # clocks of their own
    for i in range(4):  # and alone each takes the same steps
        alone = stage.solve(x[i : i + 1])
        assert int(alone.stats.accepted[0]) == int(sol.stats.accepted[i])
        torch.testing.assert_close(alone.x1[0], sol.x1[i])
    exact = ContinuousStage(field, 4, method="rk4", steps=512)(x)
    torch.testing.assert_close(sol.x1, exact, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("kind", [Tied, Interpolated])
def test_gradients_of_adaptive_steps_are_those_of_fine_ones(kind: type) -> None:
    field, x = made(smooth, kind).double(), images(2).double().requires_grad_()
    found = []
    for stage in (ContinuousStage(field, 4, method="dopri5", rtol=1e-8), ContinuousStage(field, 4, method="rk4", steps=128)):
        field.zero_grad()
        x.grad = None
        stage(x).square().sum().backward()
        found.append([x.grad.clone(), *(p.grad.clone() for p in field.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)  # kinks at the knots, met by chance


ADAPTIVE = dict(method="dopri5", rtol=1e-2)


@pytest.mark.parametrize("weights", ["tied", "linear"])
@pytest.mark.parametrize("scheme", [{}, dict(method="heun"), dict(method="rk4", steps=2), ADAPTIVE])
def test_networks_of_continuous_depth_learn_with_all_parameters(weights: str, scheme: dict) -> None:
    torch.manual_seed(0)
    net, x = resnet(20, None, 1, 10, 4, depth_weights=weights, stem=2, **scheme), torch.randn(3, 1, 8, 8)
    net(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    counts = step_counts(net, x)
    assert list(counts) == ["body.0", "body.2", "body.4"]
    steps = counts["body.0"]
    assert steps.f_evals.shape == (3,)
    if scheme is ADAPTIVE:
        assert (steps.f_evals >= 6 * steps.accepted).all()
    else:
        assert steps.accepted.tolist() == [scheme.get("steps", 3)] * 3


def test_the_same_weights_run_by_another_solver() -> None:
    torch.manual_seed(0)
    x, kind = torch.randn(3, 1, 8, 8), dict(in_channels=1, width=4, depth_weights="linear", stem=2)
    coarse, fine, adaptive = resnet(20, **kind), resnet(20, method="rk4", steps=16, **kind), resnet(20, **ADAPTIVE, **kind)
    for other in (fine, adaptive):
        other.load_state_dict(coarse.state_dict())
    close, far = ((net(x) - fine(x)).norm() for net in (adaptive, coarse))
    assert close < 0.1 * far


def test_continuous_networks_compile_on_a_grid_and_are_profiled() -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    net, x = resnet(20, "se", 1, 10, 4, depth_weights="linear", steps=5, method="rk4", stem=2).eval(), torch.randn(2, 1, 8, 8)
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), net(x))
    assert profile(net, x).nsi.shape == (2, 3)  # a stage is one block to it


def test_without_batch_norm_a_sample_does_not_see_the_others() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 1, 8, 8)
    for kind in (dict(depth_weights="tied"), dict(norm="group"), dict(norm="group", style="paper")):
        net = resnet(14, None, 1, 10, 4, stem=2, **kind)
        torch.testing.assert_close(net(x)[:2], net(x[:2]))
        assert not [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert isinstance(resnet(14, None, 1, depth_weights="tied", norm="batch").head[0], NORMS["batch"])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (dict(depth_weights="tide"), "did you mean 'tied'"),
        (dict(rtol=1e-2, method="dopri5"), "write 'tied' or 'linear'"),
        (dict(steps=4), "write 'tied' or 'linear'"),
        (dict(depth_weights="tied", steps=4, rtol=1e-2), "not both"),
        (dict(depth_weights="tied", controller="se", rtol=1e-2, method="dopri5"), "leave the controller out"),
        (dict(depth_weights="tied", steps=0), "at least 1"),
        (dict(depth_weights="linear", norm="batch"), "use norm='group'"),
        (dict(depth_weights="tied", style="paper"), "needs style='preact'"),
        (dict(norm="grp"), "did you mean 'group'"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(settings: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        resnet(20, **{"controller": None, "in_channels": 1, **settings})


def test_step_counts_need_a_continuous_stage() -> None:
    with pytest.raises(ValueError, match="no ContinuousStage"):
        step_counts(resnet(8, None, 1), torch.randn(1, 1, 8, 8))


def test_the_command_trains_continuous_depth(tmp_path: Path) -> None:
    words = ["--depth", "20", "--width", "4", "--stem", "2", "--epochs", "1", "--device", "cpu", "--out", str(tmp_path)]
    scheme = ["--depth-weights", "tied", "--method", "heun", "--steps", "2"]
    done = CliRunner().invoke(app, ["train", "resnet", *words, *scheme])
    assert done.exit_code == 0, done.output
    (folder,) = tmp_path.iterdir()
    page = json.loads((folder / "run.json").read_text())
    assert (page["settings"]["depth_weights"], page["settings"]["method"], page["settings"]["steps"]) == ("tied", "heun", 2)
    assert "--depth-weights tied --steps 2" in page["command"]
    assert CliRunner().invoke(
        app, ["train", "resnet", *words, "--depth-weights", "tied", "--method", "dopri5", "--rtol", "0.1"]
    )
    (other,) = [f for f in tmp_path.iterdir() if f != folder]
    row = json.loads((other / "results.jsonl").read_text())
    assert row["status"] == "ok"
    assert all(n >= 7 for n in row["values"]["f_evals"].values())
    bad = CliRunner().invoke(app, ["train", "resnet", *words, "--rtol", "0.01"])
    assert bad.exit_code == 2
    assert "write 'tied' or 'linear'" in bad.output
