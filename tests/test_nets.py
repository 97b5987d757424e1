"""Residual networks: equal to the hand-written loop, as cheap, one graph, and of the published size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from odebridge.bench.cost import FullSize
from odebridge.control.attention import ATTENTION, DIA, SE, StepNet
from odebridge.control.base import Fixed
from odebridge.control.compose import PerStep
from odebridge.core.over import Steps
from odebridge.core.protocols import Observation
from odebridge.integrate import Every, integrate
from odebridge.metrics import profile
from odebridge.nets import (
    MODELS,
    Entered,
    Gated,
    Layers,
    PostActBranch,
    PreActBranch,
    Stage,
    Transition,
    flow_map,
    imagenet_resnet,
    list_models,
    resnet,
)
from odebridge.nets.catalogue import BACKBONES
from odebridge.nets.gates import per_block

N, C = 4, 16
GATES = [None, *ATTENTION]


def answer(controller: Any, x: Tensor, slope: Tensor) -> Tensor:
    return controller(Observation(0, 0.0, x, slope, 1.0), controller.start(x, None))[0]


def stage_of(gate: str | None, after: Any = None, branch: Any = PreActBranch) -> Stage:
    torch.manual_seed(1)
    controller = per_block(ATTENTION[gate], C, N) if gate else None
    return Stage([branch(C) for _ in range(N)], controller, after=after)


def by_hand(stage: Stage, x: Tensor) -> Tensor:
    memory = stage.controller.start(x, None)
    for i, block in enumerate(stage.field.blocks):
        f = block(x)
        if isinstance(stage.controller, Fixed):
            x = x + f
        elif isinstance(stage.controller, PerStep):
            x = x + stage.controller.controllers[i].gate(x, f) * f
        else:
            a, memory = stage.controller.gate(Observation(i, float(i), x, f, 1.0), memory)
            x = x + a * f
        x = x if stage.after is None else stage.after(x)
    return x


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(("branch", "after"), [(PreActBranch, None), (PostActBranch, torch.relu)])
def test_stage_equals_the_loop_to_the_bit_at_the_same_cost(gate: str | None, branch: Any, after: Any) -> None:
    x0 = torch.randn(2, C, 6, 6)
    outcomes = []
    for run in (lambda s, x: s(x), by_hand):
        stage, x = stage_of(gate, after, branch), x0.clone().requires_grad_()
        with FullSize(x.numel()) as cost:
            y = run(stage, x)
            y.square().sum().backward()
        outcomes.append((y, x.grad, [p.grad for p in stage.parameters()], cost.count))
    (y, x_grad, grads, count), (y1, x_grad1, grads1, count1) = outcomes
    assert torch.equal(y, y1)
    assert torch.equal(x_grad, x_grad1)
    assert len(grads) == len(grads1) > 0
    assert all(torch.equal(a, b) for a, b in zip(grads, grads1, strict=True))
    assert count == count1


@pytest.mark.parametrize(
    ("gate", "more"),
    # a f, and in the backward pass its gradient and the product that makes a's; of what is pooled, the sum of two gradients
    [("half", 2), ("constant", 3), ("se", 4), ("ie", 4), ("eca", 4), ("stepnet", 5)],
)
def test_a_gate_costs_so_many_operations_of_full_size(gate: str, more: int) -> None:
    x, counts = torch.randn(2, C, 6, 6), []
    for name in (None, gate):
        stage = stage_of(name)
        with FullSize(x.numel()) as cost:
            stage(x).square().sum().backward()
        counts.append(cost.count)
    # The first state needs no gradient, so StepNet's look at it costs nothing there.
    assert counts[1] - counts[0] == more * N - (gate == "stepnet")


@pytest.mark.parametrize("gate", GATES)
def test_network_is_one_graph(gate: str | None) -> None:
    torch._dynamo.reset()
    net = resnet(14, gate, 1, 10, width=4, style="paper").eval()
    x = torch.randn(2, 1, 8, 8)
    explained = torch._dynamo.explain(net)(x)
    assert (explained.graph_count, explained.graph_break_count) == (1, 0)
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    assert torch.equal(compiled(x), net(x))


def test_stages_of_unequal_length_compile_one_after_the_other() -> None:
    """Depths and spacings must stay constants of the graph when the same code is traced again for another stage."""
    torch._dynamo.reset()
    for n in (2, 3, 5):
        net, x = flow_map(3, n, 8, "se"), torch.randn(2, 3)
        assert torch.equal(torch.compile(net, fullgraph=True, backend="eager")(x), net(x))


@pytest.mark.slow
def test_trains_compiled_by_inductor() -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    net = resnet(8, "stepnet", 1, 10, width=4)
    x = torch.randn(4, 1, 8, 8)
    net(x).square().mean().backward()
    eager = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    torch.compile(net, fullgraph=True)(x).square().mean().backward()
    for a, b in zip(eager, (p.grad for p in net.parameters()), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


# Millions of parameters of ResNet164 on CIFAR-100 and STL-10: Table 1 of arXiv 2304.06345; SPA on STL-10 is not in it.
PUBLISHED = {
    None: (1.73, 1.70), "ie": (1.74, 1.72), "srm": (1.76, 1.74), "se": (1.93, 1.91), "cbam": (1.93, 1.90), "dia": (1.95, 1.92),
    "spa": (3.86, None),
}  # fmt: skip


@pytest.mark.parametrize("controller", list(PUBLISHED))
def test_published_parameter_counts(controller: str | None) -> None:
    for classes, millions in zip((100, 10), PUBLISHED[controller], strict=True):
        with torch.device("meta"):
            net = resnet(164, controller, 3, classes, style="paper")
        assert millions is None or round(count(net) / 1e6, 2) == millions
        assert [len(s) for s in net.modules() if isinstance(s, Stage)] == [17, 17, 17]


def test_a_recurrent_cell_goes_through_the_whole_stage() -> None:
    """One DIA per stage, zero before the transition, whose memory goes on into the blocks."""
    torch.manual_seed(0)
    net = resnet(20, "dia", 1, 10, width=8).eval()
    x = torch.randn(2, 1, 8, 8)
    assert sum(isinstance(m, DIA) for m in net.modules()) == 3
    part = net.body[1]
    assert isinstance(part, Entered)
    y, cell = net.body[0](net.stem(x)), part.stage.controller
    skip, f = part.transition.carry(y), part.transition.branch(y)
    a, memory = cell.gate(Observation(0, 0.0, skip, f, 1.0), cell.start(skip, None))
    z = skip + a * f
    for block in part.stage.field.blocks:
        f = block(z)
        a, memory = cell.gate(Observation(0, 0.0, z, f, 1.0), memory)
        z = z + a * f
    torch.testing.assert_close(part(y), z)
    assert not torch.allclose(part.stage(part.transition(y)), z)  # which forgets
    found = profile(net, x)
    assert found.nsi.shape == (2, 3 + 2 + 2)
    with pytest.raises(TypeError, match="same controller"):
        Entered(part.transition, stage_of("se"))


@pytest.mark.parametrize(("depth", "parameters"), [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032)])
def test_networks_for_large_images_have_the_parameters_of_torchvision(depth: int, parameters: int) -> None:
    with torch.device("meta"):
        net = imagenet_resnet(depth)
        assert count(net) == parameters
        assert net(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 1000)
        gated = imagenet_resnet(depth, "dia", classes=10)
        assert gated(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 10)
    with pytest.raises(ValueError, match="18, 34, 50"):
        imagenet_resnet(101)


class Foreign(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        return x + scale * self.f(x).tanh()


@pytest.mark.parametrize("gate", list(ATTENTION))
def test_a_gate_on_a_foreign_layer_scales_its_increment(gate: str) -> None:
    torch.manual_seed(0)
    layer, x = Foreign(), torch.randn(3, 8, 5, 5)
    module = Gated(layer, ATTENTION[gate](8)).eval()
    f = layer(x, scale=0.5) - x
    torch.testing.assert_close(module(x, scale=0.5), x + answer(module.controller, x, f) * f)
    assert torch.equal(Gated(layer, Fixed())(x), x + (layer(x) - x))
    part = Gated(nn.Linear(8, 8), ATTENTION[gate](8), skip=False, channels_last=True).eval()
    tokens = torch.randn(2, 6, 8)
    f = part.layer(tokens)
    a = answer(part.controller, tokens.mT, f.mT)
    torch.testing.assert_close(part(tokens), tokens + (a * f.mT).mT)
    with pytest.raises(ValueError, match="keep the shape"):
        Gated(nn.Linear(8, 4), ATTENTION[gate](8))(torch.randn(2, 8))


def test_stepnet_overhead() -> None:
    plain, stepnet = (resnet(164, c, 3, 100, style="paper") for c in (None, "stepnet"))
    assert count(stepnet) - count(plain) == 298_872


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("style", ["preact", "paper"])
@pytest.mark.parametrize("gate", GATES)
def test_digits_run_on_8_4_2_pixels_and_all_parameters_learn(style: str, gate: str | None) -> None:
    torch.manual_seed(0)
    net = resnet(20, gate, 1, 10, width=16, style=style)
    shapes = []
    for part in net.body:
        part.register_forward_hook(lambda _m, _a, out: shapes.append(out.shape[2]))
    out = net(torch.randn(8, 1, 8, 8))
    assert out.shape == (8, 10)
    assert shapes == ([8, 4, 2] if gate == "dia" else [8, 4, 4, 2, 2])
    nn.functional.cross_entropy(out, torch.arange(8)).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.parametrize(("stem", "pixels"), [(1, 28), (2, 14), (4, 7)])
def test_stem_strides(stem: int, pixels: int) -> None:
    net = resnet(8, None, 1, 10, width=4, stem=stem)
    assert net.stem(torch.zeros(1, 1, 28, 28)).shape == (1, 4, pixels, pixels)


def test_own_stem_is_left_as_it_is() -> None:
    stem = nn.Conv2d(1, 4, 1)
    weight = stem.weight.clone()
    net = resnet(8, None, 1, 10, width=4, stem=stem)
    assert net.stem is stem
    assert torch.equal(stem.weight, weight)


def test_authors_initialisation() -> None:
    torch.manual_seed(0)
    net = resnet(8, None, 3, 10, width=64, style="paper")
    block = net.body[0].field.blocks[0]
    assert block[0].weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
    assert (block[1].weight == 1).all()
    assert (block[1].bias == 0).all()


@pytest.mark.parametrize(
    ("depth", "message"),
    [(21, "20 and 26 .basic., 20 and 29 .bottleneck."), (-3, "8 and 14"), (2, "8 and 14"), (165, "164 and 173")],
)
def test_wrong_depth_names_the_nearest(depth: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resnet(depth)


def test_wrong_settings() -> None:
    with pytest.raises(ValueError, match="'stepnet'"):
        resnet(8, "stepnets")
    with pytest.raises(ValueError, match="'paper'"):
        resnet(8, style="papers")
    with pytest.raises(TypeError, match="function of the channels"):
        resnet(8, SE(16))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="stem"):
        resnet(8, stem=0)
    with pytest.raises(ValueError, match="at least one block"):
        Stage([])
    with pytest.raises(ValueError, match="blocks"):
        flow_map(3, 0)


def test_kind_of_blocks_follows_the_literature() -> None:
    def convs(net: nn.Module) -> int:
        return sum(isinstance(m, nn.Conv2d) for m in net.body[0].field.blocks[0])

    assert [convs(resnet(d, width=4)) for d in (20, 56)] == [2, 2]
    assert sum(isinstance(m, nn.Conv2d) for m in resnet(83, width=4).body[0].branch) == 3
    assert sum(isinstance(m, nn.Conv2d) for m in resnet(20, width=4, bottleneck=True).body[0].branch) == 3


def test_gates_from_a_function() -> None:
    made = []

    def gate(channels: int) -> StepNet:
        made.append(channels)
        return StepNet(channels, inputs="ratio", statistic="l2")

    resnet(14, gate, width=8)
    assert made == [8, 8, 16, 16, 32, 32]


def test_solve_keeps_states_and_sizes() -> None:
    stage, x = stage_of("stepnet", torch.relu).eval(), torch.randn(3, C, 4, 4)
    sol = stage.solve(x, save=Every())
    assert sol.xs.shape == (3, N + 1, C, 4, 4)
    assert sol.hs.shape == (3, N, C, 1, 1)
    assert torch.equal(sol.xs[:, 0], x)
    assert torch.equal(sol.x1, stage(x))
    assert (sol.xs[:, 1:] >= 0).all()
    assert stage_of("constant").eval().solve(x, save=Every()).hs.shape == (3, N, C, 1, 1)


def test_method_is_one_word() -> None:
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Linear(5, 5), nn.Tanh()) for _ in range(3)]
    x = torch.randn(2, 5)
    y = x
    for i, f in enumerate(blocks):
        k1 = f(y)
        k2 = blocks[min(i + 1, 2)](y + k1)  # the end of a step belongs to the next block
        y = y + 0.5 * (k1 + k2)
    torch.testing.assert_close(Stage(blocks, method="heun")(x), y)


def test_layers_choose_by_depth() -> None:
    blocks = [nn.Linear(2, 2) for _ in range(49)]
    field, x = Layers(blocks, per_unit=49), torch.randn(1, 2)
    assert all(torch.equal(field(i / 49, x), blocks[i](x)) for i in range(49))
    assert torch.equal(field(1.0, x), blocks[-1](x))
    with pytest.raises(TypeError, match="Steps"):
        integrate(Layers(blocks), x, (0.0, 1.0))


@pytest.mark.parametrize("gate", GATES)
def test_transition_is_one_update(gate: str | None) -> None:
    torch.manual_seed(0)
    controller = ATTENTION[gate](32) if gate else None
    carry, branch = nn.Conv2d(C, 32, 1, 2), PostActBranch(C, 32, stride=2)
    x = torch.randn(2, C, 6, 6)
    part = Transition(carry, branch, controller, after=torch.relu).eval()
    skip, f = carry(x), branch(x)
    expected = skip + f if controller is None else skip + answer(controller, skip, f) * f
    assert torch.equal(part(x), expected.relu())


def test_autocast_and_channels_last() -> None:
    net = resnet(14, "stepnet", 1, 10, width=8).eval()
    x = torch.randn(2, 1, 8, 8)
    plain = net(x)
    torch.testing.assert_close(net.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last)), plain)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(net(x).float(), plain, atol=0.1, rtol=0.1)


@pytest.mark.parametrize("gate", GATES)
def test_flow_map_is_euler_over_one_unit(gate: str | None) -> None:
    torch.manual_seed(0)
    net, x = flow_map(3, 4, 16, gate, lift=32), torch.randn(5, 3)
    y, memory = net.lift(x), None
    for i, f in enumerate(net.stage.field.blocks):
        k = f(y)
        law = net.stage.controller
        if gate is None:
            a = 1.0
        elif isinstance(law, PerStep):
            a = answer(law.controllers[i], y, k)
        else:
            a, memory = law.gate(Observation(i, 0.0, y, k, 1.0), memory or law.start(y, None))
        y = y + 0.25 * (a * k)
    torch.testing.assert_close(net(x), net.readout(y))
    assert flow_map(3, 4, 16, gate)(x).shape == (5, 3)


@pytest.mark.parametrize("name", list(MODELS))
def test_catalogue_builds(name: str) -> None:
    if "flowmap" in name:
        assert MODELS[name](dim=3, hidden=4)(torch.zeros(2, 3)).shape == (2, 3)
    elif "164" in name:
        assert MODELS[name](width=4, in_channels=1)
    elif name.split("_")[0] in ("resnet18", "resnet34", "resnet50"):
        with torch.device("meta"):
            assert MODELS[name](classes=5)(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 5)
    else:
        assert MODELS[name](width=2, in_channels=1)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_list_models() -> None:
    assert list_models("*step*") == [f"{name}_stepnet" for name in BACKBONES]
    assert "resnet20" in list_models()


def test_shared_controller_runs_for_every_block() -> None:
    torch.manual_seed(0)
    blocks, gate, x = [PreActBranch(C).eval() for _ in range(2)], SE(C), torch.randn(2, C, 4, 4)
    sol = integrate(Layers(blocks), x, Steps(2), method="euler", controller=gate)
    y = x
    for f in blocks:
        k = f(y)
        y = y + gate.gate(y, k) * k
    assert torch.equal(sol.x1, y)
