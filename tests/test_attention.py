"""The contract of attention modules, over the catalogue: a new line there is tested by existing."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from odebridge.control.attention import ATTENTION, ECA, IE, SE, SGE, SRM, Attention, Half, StepNet
from odebridge.core.over import Steps
from odebridge.core.protocols import Observation
from odebridge.integrate import integrate
from odebridge.nets import Layers, Stage
from odebridge.nets.gates import per_block

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


def answer(module: Any, x: Tensor, slope: Tensor, h: float = 1.0) -> Tensor:
    """The step sizes that the module takes where nothing came before."""
    return module(seen(x, slope, h), module.start(x, None))[0]


def drawn(name: str) -> Any:
    """A module with weights that are not those of its start, whose running averages are not looked at."""
    torch.manual_seed(1)
    module = ATTENTION[name](C)
    for p in module.parameters():
        nn.init.normal_(p, std=0.3)
    return module


@EVERY
@pytest.mark.parametrize("space", [0, 1, 2, 3])
def test_gate_multiplies_x_and_is_finite(name: str, space: int) -> None:
    x, slope = pair(space)
    a = answer(drawn(name), x, slope)
    assert a.shape[1] == C
    assert a.shape[2:] == (1,) * space or name in ("cbam", "sge")  # a step size for every position
    assert (a * slope).shape == x.shape
    assert torch.isfinite(a).all()
    assert ((a >= 0) & (a <= 1)).all()


@EVERY
def test_gate_stays_finite_for_zero_and_huge_input(name: str) -> None:
    module = ATTENTION[name](C)
    for scale in (0.0, 1e-30, 1e15):
        x, slope = (scale * v for v in pair())
        assert torch.isfinite(answer(module, x, slope)).all(), scale


@EVERY
def test_forward_scales_by_the_spacing(name: str) -> None:
    module, (x, slope) = drawn(name), pair()
    start = module.start(x, None)
    a = module.gate(x, slope) if isinstance(module, Attention) else module.gate(seen(x, slope), start)[0]
    h, memory = module(seen(x, slope), start)
    assert (start is None) == (memory is None) == isinstance(module, Attention)
    assert torch.equal(h, a)
    assert torch.equal(answer(module, x, slope, 0.25), 0.25 * a)
    assert module.accepts(torch.tensor([0.5, 1.0, 2.0]), None).tolist() == [True, True, False]


@EVERY
def test_gradient_reaches_every_parameter(name: str) -> None:
    module, (x, slope) = drawn(name), pair(batch=8)
    memory = module.start(x, None)
    for _ in range(2):  # a memory of zeros hides the weights that look at it
        a, memory = module(seen(x, slope), memory)
    if a.requires_grad:
        (a * slope).square().sum().backward()
    for key, p in module.named_parameters():
        assert p.grad is not None, key
        assert p.grad.abs().sum() > 0, key


@EVERY
def test_state_dict_round_trip_copies_and_pickles(name: str) -> None:
    module, (x, slope) = drawn(name), pair()
    other = ATTENTION[name](C)
    other.load_state_dict(module.state_dict())
    for twin in (other, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(answer(twin, x, slope), answer(module, x, slope))


@EVERY
def test_samples_do_not_see_each_other(name: str) -> None:
    module, (x, slope) = drawn(name).eval(), pair()
    together = answer(module, x, slope).expand(len(x), -1, -1, -1)
    alone = torch.cat([answer(module, x[i : i + 1], slope[i : i + 1]).expand(1, -1, -1, -1) for i in range(len(x))])
    torch.testing.assert_close(together, alone)


@EVERY
def test_autocast_and_channels_last(name: str) -> None:
    module, (x, slope) = drawn(name), pair()
    plain = answer(module, x, slope)
    last = answer(module, *(v.to(memory_format=torch.channels_last) for v in (x, slope)))
    torch.testing.assert_close(last, plain)
    with torch.autocast("cpu", torch.bfloat16):
        half = answer(module, x, slope.bfloat16())
    torch.testing.assert_close(half.float(), plain, atol=0.02, rtol=0.02)


@EVERY
def test_compiles_to_one_graph(name: str) -> None:
    module, (x, slope) = drawn(name), pair()
    torch._dynamo.reset()
    start = module.start(x, None)
    explained = torch._dynamo.explain(module)(seen(x, slope), start)
    assert (explained.graph_count, explained.graph_break_count) == (1, 0)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(seen(x, slope), start)[0], answer(module, x, slope))


FORMS = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d}


@EVERY
@pytest.mark.parametrize("space", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_stage_trains_as_one_graph_in_half_precision_and_channels_last(name: str, space: int) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[space]
    stage = Stage([conv(C, C, 3, padding=1) for _ in range(2)], per_block(ATTENTION[name], C, 2))
    x = pair(space)[0].contiguous(memory_format=FORMS[space])
    stage.to(memory_format=FORMS[space]) if space == 2 else None
    found = []
    for run in (stage, torch.compile(stage, fullgraph=True, backend="eager")):
        stage.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            y = run(x)
        y.float().square().mean().backward()
        found.append((y.float(), [p.grad for p in stage.parameters() if p.grad is not None]))
    (y, grads), (y1, grads1) = found
    assert torch.isfinite(y).all()
    torch.testing.assert_close(y1, y, rtol=0.05, atol=0.05)
    assert len(grads) == len(grads1) > 0
    assert all(torch.isfinite(g).all() for g in (*grads, *grads1))


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


def test_eca_looks_at_neighbouring_channels() -> None:
    x, slope = pair()
    m, w = nn.functional.pad(slope.mean((2, 3)), (1, 1)), drawn("eca").conv.weight.reshape(-1)
    expected = torch.sigmoid(w[0] * m[:, :-2] + w[1] * m[:, 1:-1] + w[2] * m[:, 2:])
    torch.testing.assert_close(drawn("eca").gate(x, slope)[..., 0, 0], expected)
    assert [ECA(c).conv.kernel_size[0] for c in (64, 128, 256)] == [3, 5, 5]


def test_srm_and_ie_are_their_formulas() -> None:
    x, slope = pair()
    srm, ie = drawn("srm"), drawn("ie")
    z = srm.weight[0] * slope.mean((2, 3)) + srm.weight[1] * (slope.var((2, 3)) + 1e-5).sqrt()
    torch.testing.assert_close(srm.gate(x, slope)[..., 0, 0], srm.norm(z).sigmoid())
    torch.testing.assert_close(ie.gate(x, slope)[..., 0, 0], (ie.weight * slope.mean((2, 3)) + ie.bias).sigmoid())
    torch.testing.assert_close(IE(C).gate(x, slope).mean(), torch.tensor(-1.0).sigmoid())
    torch.testing.assert_close(SRM(C).gate(x, slope).mean(), torch.tensor(0.5))


def test_spa_sees_the_parts_of_the_image() -> None:
    torch.manual_seed(0)
    x, slope = torch.randn(2, C, 8, 8), torch.randn(2, C, 8, 8)
    spa, inputs = drawn("spa"), []
    spa.excite.register_forward_hook(lambda _m, args, _o: inputs.append(args[0]))
    spa.gate(x, slope)
    wanted = [slope.mean((2, 3))]
    for n in (2, 4):
        q = 8 // n
        cells = [slope[:, :, i * q : (i + 1) * q, j * q : (j + 1) * q].mean((2, 3)) for i in range(n) for j in range(n)]
        wanted.append(torch.stack(cells, 2).flatten(1))
    torch.testing.assert_close(inputs[0], torch.cat(wanted, 1))


def test_cbam_chooses_the_channel_and_then_the_place() -> None:
    x, slope = pair()
    cbam = drawn("cbam")
    channel = torch.sigmoid(cbam.mix(slope.mean((2, 3))) + cbam.mix(slope.amax((2, 3))))[:, :, None, None]
    g = channel * slope
    place = torch.sigmoid(cbam.where(torch.stack([g.mean(1), g.amax(1)], 1)))
    torch.testing.assert_close(cbam.gate(x, slope), channel * place)


def test_sge_is_the_agreement_with_the_mean_of_the_group() -> None:
    x, slope = pair()
    sge = SGE(C, groups=8)
    nn.init.normal_(sge.weight)
    a = sge.gate(x, slope)
    for g in range(8):
        f = slope[:, 4 * g : 4 * g + 4]
        q = (f * f.mean((2, 3), keepdim=True)).sum(1).flatten(1)
        q = (q - q.mean(1, keepdim=True)) / (q.std(1, keepdim=True) + 1e-5)
        expected = torch.sigmoid(sge.weight[g] * q + sge.bias[g]).reshape(len(x), 1, 5, 4)
        torch.testing.assert_close(a[:, 4 * g : 4 * g + 4], expected.expand(-1, 4, -1, -1), atol=1e-4, rtol=1e-4)
    assert [SGE(c).groups for c in (3, 48, 64, 256, 512)] == [1, 12, 16, 64, 64]
    with pytest.raises(ValueError, match="divisor of the 32"):
        SGE(C, groups=5)


def test_dia_is_a_recurrent_cell() -> None:
    x, slope = pair()
    dia = drawn("dia")
    h, c = dia.start(x, None)
    assert h.abs().sum() + c.abs().sum() == 0
    for _ in range(3):
        a, (h1, c1) = dia(seen(x, slope), (h, c))
        i, f, o, g = (dia.look(slope.mean((2, 3))) + dia.recall(h)).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.sigmoid()
        torch.testing.assert_close((a[..., 0, 0], h1, c1), (h, h, c))


def test_half_is_half() -> None:
    assert (Half(C).gate(*pair()) == 0.5).all()
    assert list(Half(C).parameters()) == []


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


@pytest.mark.parametrize("cls", [SE, StepNet])
def test_a_reduction_below_one_widens(cls):
    inputs = {SE: 2, StepNet: 4}[cls]
    first, last = cls(2, 0.25).excite[0], cls(2, 0.25).excite[2]
    assert (first.in_features, first.out_features, last.in_features, last.out_features) == (inputs, 8, 8, 2)


def test_attention_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Attention()  # type: ignore[abstract]
