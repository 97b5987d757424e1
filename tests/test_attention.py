"""The contract of attention modules, over the catalogue: a new line there is tested by existing."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from odebridge.control.attention import ATTENTION, SE, Attention, StepNet
from odebridge.core.over import Steps
from odebridge.core.protocols import Observation
from odebridge.integrate import integrate
from odebridge.nets import Layers

C = 32
EVERY = pytest.mark.parametrize("name", list(ATTENTION))
CHOICES = [("f", "mean"), ("x", "mean"), ("fx", "std"), ("fx", "l2"), ("ratio", "l2"), ("ratio", "mean"), ("ratio", "std")]


class Zero(Attention):
    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()

    def gate(self, x: Tensor, slope: Tensor) -> Tensor:
        return x.new_zeros(())


def pair(space: int = 2, batch: int = 3) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    shape = (batch, C, 5, 4, 3)[: 2 + space]
    return torch.randn(shape), torch.randn(shape)


def seen(x: Tensor, slope: Tensor, h: float = 1.0) -> Observation:
    return Observation(n=0, t=0.0, x=x, slope=slope, h=h)


@EVERY
@pytest.mark.parametrize("space", [0, 1, 2, 3])
def test_gate_multiplies_x_and_is_finite(name: str, space: int) -> None:
    x, slope = pair(space)
    a = ATTENTION[name](C).gate(x, slope)
    assert a.shape[1] == C
    assert a.shape[2:] == (1,) * space
    assert (a * slope).shape == x.shape
    assert torch.isfinite(a).all()
    assert ((a >= 0) & (a <= 1)).all()


@EVERY
def test_gate_stays_finite_for_zero_and_huge_input(name: str) -> None:
    module = ATTENTION[name](C)
    for scale in (0.0, 1e-30, 1e15):
        x, slope = (scale * v for v in pair())
        assert torch.isfinite(module.gate(x, slope)).all(), scale


@EVERY
def test_forward_scales_by_the_spacing_and_keeps_no_memory(name: str) -> None:
    module, (x, slope) = ATTENTION[name](C), pair()
    assert module.start(x, None) is None
    a = module.gate(x, slope)
    h, memory = module(seen(x, slope), None)
    assert memory is None
    assert torch.equal(h, a)
    h, _ = module(seen(x, slope, 0.25), None)
    assert torch.equal(h, 0.25 * a)
    assert module.accepts(torch.tensor([0.5, 1.0, 2.0]), None).tolist() == [True, True, False]


@EVERY
def test_gradient_reaches_every_parameter(name: str) -> None:
    module, (x, slope) = ATTENTION[name](C), pair(batch=8)
    (module.gate(x, slope) * slope).square().sum().backward()
    for key, p in module.named_parameters():
        assert p.grad is not None, key
        assert p.grad.abs().sum() > 0, key


@EVERY
def test_state_dict_round_trip_copies_and_pickles(name: str) -> None:
    module, (x, slope) = ATTENTION[name](C), pair()
    nn.init.normal_(next(module.parameters()))
    other = ATTENTION[name](C)
    other.load_state_dict(module.state_dict())
    for twin in (other, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(twin.gate(x, slope), module.gate(x, slope))


@EVERY
def test_samples_do_not_see_each_other(name: str) -> None:
    module, (x, slope) = ATTENTION[name](C), pair()
    together = module.gate(x, slope).expand(len(x), -1, -1, -1)
    alone = torch.cat([module.gate(x[i : i + 1], slope[i : i + 1]) for i in range(len(x))])
    torch.testing.assert_close(together, alone)


@EVERY
def test_autocast_and_channels_last(name: str) -> None:
    module, (x, slope) = ATTENTION[name](C), pair()
    plain = module.gate(x, slope)
    last = module.gate(*(v.to(memory_format=torch.channels_last) for v in (x, slope)))
    torch.testing.assert_close(last, plain)
    with torch.autocast("cpu", torch.bfloat16):
        half = module.gate(x, slope.bfloat16())
    torch.testing.assert_close(half.float(), plain, atol=0.02, rtol=0.02)


@EVERY
def test_compiles_to_one_graph(name: str) -> None:
    module, (x, slope) = ATTENTION[name](C), pair()
    torch._dynamo.reset()
    explained = torch._dynamo.explain(module)(seen(x, slope), None)
    assert (explained.graph_count, explained.graph_break_count) == (1, 0)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(seen(x, slope), None)[0], module.gate(x, slope))


def test_zero_gate_is_the_identity() -> None:
    x, _ = pair()
    field = Layers(nn.Conv2d(C, C, 3, padding=1) for _ in range(3))
    sol = integrate(field, x, Steps(3), method="euler", controller=Zero(C))
    assert torch.equal(sol.x1, x)


def test_se_is_its_formula() -> None:
    x, slope = pair()
    se = SE(C)
    first, second = se.excite[0], se.excite[2]
    z = slope.mean((2, 3)) @ first.weight.T + first.bias
    a = torch.sigmoid(z.relu() @ second.weight.T + second.bias)
    torch.testing.assert_close(se.gate(x, slope)[..., 0, 0], a)
    assert SE(64).excite[0].out_features == 4
    assert SE(8).excite[0].out_features == 1


def test_stepnet_of_the_slope_is_se() -> None:
    x, slope = pair()
    se, step = SE(C), StepNet(C, inputs="f")
    step.load_state_dict(se.state_dict())
    assert torch.equal(step.gate(x, slope), se.gate(x, slope))


@pytest.mark.parametrize(("inputs", "statistic"), CHOICES)
def test_stepnet_choices(inputs: str, statistic: str) -> None:
    module, (x, slope) = StepNet(C, inputs=inputs, statistic=statistic), pair()
    x.requires_grad_()
    slope.requires_grad_()
    module.gate(x, slope).sum().backward()
    assert (x.grad is not None) == ("x" in inputs or inputs == "ratio")
    assert (slope.grad is not None) == (inputs != "x")
    flat = torch.zeros_like(x, requires_grad=True)  # constant maps: the root of the variance has no slope at 0
    module.gate(flat, flat).sum().backward()
    assert flat.grad is not None
    assert torch.isfinite(flat.grad).all()


def test_stepnet_ratio_is_the_index_per_channel() -> None:
    x, slope = pair()
    module = StepNet(C, inputs="ratio", statistic="l2")
    expected = (slope.flatten(2).norm(dim=2) / x.flatten(2).norm(dim=2)).log()
    seen_by_mlp = []
    module.excite.register_forward_hook(lambda _m, args, _o: seen_by_mlp.append(args[0]))
    module.gate(x, slope)
    torch.testing.assert_close(seen_by_mlp[0], expected, atol=1e-3, rtol=1e-3)


def test_wrong_names_get_the_nearest() -> None:
    with pytest.raises(ValueError, match="'ratio'"):
        StepNet(C, inputs="ratios")
    with pytest.raises(ValueError, match="did you mean 'mean'"):
        StepNet(C, statistic="means")
    with pytest.raises(ValueError, match="spatial dimension"):
        StepNet(C, statistic="std").gate(*pair(0))
    with pytest.raises(ValueError, match="reduction"):
        SE(C, 0)


def test_attention_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Attention()  # type: ignore[abstract]
