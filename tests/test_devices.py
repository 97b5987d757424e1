"""Everything is made on the device of x0. On the CPU this is seen by making every other default device unusable."""

import pytest
import torch
from selection import dear

import odebridge as ob
from odebridge.methods import METHODS
from odebridge.nets import node
from odebridge.problems import PROBLEMS, problem

ADAPTIVE = [m for m in METHODS if METHODS[m].error_order is not None]
LAWS = ["pi", "predictive", "h211b", ob.control.Bounded(ob.control.I, 1e-9, 0.5), ob.control.AtTimes(ob.control.I, (0.3,))]


def field(t, x, a):
    return -a * x * x + torch.sin(t)[:, None]


def solved(device, method="tsit5", save=None, controller=None, grad=False):
    x0 = torch.tensor([[1.0, 0.5], [0.3, 0.2], [2.0, 1.0]], dtype=torch.float64, device=device, requires_grad=grad)
    a = torch.tensor([[1.0], [2.0], [30.0]], dtype=torch.float64, device=device)
    ends = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64, device=device)
    options = {"method": method, "controller": controller, "rtol": 1e-5, "atol": 1e-8, "save": save or ob.Last()}
    return x0, ob.integrate(field, x0, (0.0, ends), args=a, **options)


SAVES = [ob.Every(), ob.Dense(), ob.At([0.1, 0.5])]


@pytest.mark.parametrize("method", dear(ADAPTIVE))
@pytest.mark.parametrize("save", SAVES, ids=lambda s: type(s).__name__)
def test_no_tensor_is_made_on_a_default_device(method, save):
    expected = solved("cpu", method, save)[1]
    with torch.device("meta"):  # a factory call without device= gives a meta tensor, and mixing it with data raises
        x0, sol = solved("cpu", method, save, grad=True)
        if isinstance(save, ob.Dense):
            assert sol(0.2).device.type == "cpu"
        assert sol.stats.accepted.device.type == "cpu"
    assert torch.equal(sol.x1, expected.x1)
    sol.x1.sum().backward()
    assert bool(torch.isfinite(x0.grad).all())


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_no_law_makes_a_tensor_on_a_default_device(law):
    with torch.device("meta"):
        sol = solved("cpu", controller=law)[1]
    assert bool(torch.isfinite(sol.x1).all())


def test_grids_and_gates_make_none_either():
    gates = ob.control.PerStep([ob.control.StepNet(8) for _ in range(3)])
    layers = ob.nets.Layers([ob.nets.PreActBranch(8) for _ in range(3)])
    images = torch.randn(2, 8, 5, 5)
    with torch.device("meta"):
        sol = ob.integrate(layers, images, ob.Steps(3), method="euler", controller=gates, save=ob.Every())
        assert ob.metrics.nsi(sol.xs).device.type == "cpu"
        assert sol.ts.device.type == "cpu"


def networks(device="cpu"):
    """One of each kind of `odebridge.nets.node`, with a call of it: made before, called where nothing may be made elsewhere."""
    x, lin = torch.randn(4, 2).to(device), torch.nn.Linear
    times, values = torch.tensor([0.0, 0.3, 1.0]).to(device), torch.randn(4, 3, 2).to(device)
    mask = torch.rand(4, 3, 2).to(device) < 0.5
    mask[:, 0] = True
    fast = node.Solver("rk4", steps=2)
    latent = node.LatentODE(node.ODERNN(2, 5, solver=fast), node.MLPField(3), lin(3, 2), 3, fast)
    cde = node.NeuralCDE(node.MatrixField(5, 2), lin(2, 5), solver=fast)
    stiff = node.StiffNODE(node.Kinetics(2, (4,)), torch.ones(2, dtype=torch.float64), 1.0, solver=node.Solver("rodas5p"))
    second = node.SecondOrderField(node.MLPField(2), damping="learned", general=True)
    nets = {
        "augmented": node.NeuralODE(node.MLPField(5, time=True), lift=node.Augment(3)),
        "varying": node.NeuralODE(node.VaryingField(2, basis="galerkin")),
        "heavy ball": node.NeuralODE(second, lift=node.Augment(net=lin(2, 2))),
        "hamiltonian": node.HamiltonianODE(node.SeparableEnergy(1), node.Solver("verlet", steps=2)),
        "momentum": node.Reversible([node.MomentumStep(node.mlp([2, 4, 2]))]),
        "deq": node.DEQ(node.TanhCell(2, 4), 4),
        "cnf": node.CNF(node.MLPField(2), 2, solver=fast),
    }
    calls = {name: (net, lambda net=net: net(x)) for name, net in nets.items()}
    spline = {"cde natural": node.natural_cubic, "cde hermite": node.hermite_cubic}
    calls |= {k: (cde, lambda make=make: cde(make(times, values, mask), (0.0, 1.0))) for k, make in spline.items()}
    calls["latent"] = (latent, lambda: latent(times, values, mask))
    u0 = torch.rand(4, 2, dtype=torch.float64).to(device)
    calls["stiff"] = (stiff, lambda: stiff.path(u0, times))
    return {name: (net.to(device), call) for name, (net, call) in calls.items()}


@pytest.mark.parametrize("name", networks())
def test_no_network_makes_a_tensor_on_a_default_device(name):
    net, call = networks()[name]
    with torch.device("meta"):
        out = call()
    assert bool(torch.isfinite(out).all())
    out.sum().backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in net.parameters())


def on_gpu(test):
    """A test that needs a card."""
    return pytest.mark.gpu(pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")(test))


@on_gpu
@pytest.mark.parametrize("method", dear(ADAPTIVE))
@pytest.mark.parametrize("save", SAVES, ids=lambda s: type(s).__name__)
def test_cuda_gives_the_same_answer(method, save):
    cpu, gpu = solved("cpu", method, save)[1], solved("cuda", method, save, grad=True)[1]
    assert gpu.x1.device.type == "cuda"
    assert torch.allclose(cpu.x1, gpu.x1.cpu(), rtol=1e-9)
    assert torch.equal(cpu.stats.accepted, gpu.stats.accepted.cpu())
    gpu.x1.sum().backward()


@on_gpu
@pytest.mark.parametrize("law", LAWS, ids=str)
def test_every_law_decides_alike_on_cuda(law):
    cpu, gpu = solved("cpu", controller=law)[1], solved("cuda", controller=law)[1]
    assert torch.equal(cpu.stats.accepted, gpu.stats.accepted.cpu())
    assert torch.allclose(cpu.x1, gpu.x1.cpu(), rtol=1e-9)


@on_gpu
@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_the_fields_of_all_problems_are_the_same_on_cuda(name):
    here = problem(name).batched()
    there = here.to(device="cuda")
    x = here.x0 + 1e-3
    t = torch.full((len(x),), float(here.span[0]) + 0.1, dtype=x.dtype)
    more, cuda = () if here.args is None else (here.args,), () if there.args is None else (there.args,)
    found = there.field(t.cuda(), x.cuda(), *cuda)
    assert found.device.type == "cuda"
    expected = here.field(t, x, *more)
    assert torch.allclose(found.cpu(), expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))
    if here.jacobian is not None:
        jac = here.jacobian(t, x, *more)
        assert torch.allclose(
            there.jacobian(t.cuda(), x.cuda(), *cuda).cpu(), jac, rtol=1e-9, atol=1e-9 * float(jac.abs().max())
        )


def ends(p, method):
    """The problem solved."""
    given = {"args": p.args, "jacobian": p.jacobian, "rtol": 1e-5, "atol": 1e-7}
    return ob.integrate(p.field, p.x0, p.span, method=method, **given)


@on_gpu
@pytest.mark.parametrize("name", ["van_der_pol", "hires", "brusselator_1d"])
@pytest.mark.parametrize("method", ["rodas5p", "kvaerno5", "radau5", "bdf"])
def test_stiff_problems_end_alike_on_cuda(name, method):
    p = problem(name).batched()
    cpu, gpu = (ends(q, method) for q in (p, p.to(device="cuda")))
    assert bool((gpu.result == ob.Result.OK).all())
    assert torch.allclose(cpu.x1, gpu.x1.cpu(), rtol=1e-4, atol=1e-6)
    assert abs(int(cpu.stats.accepted) - int(gpu.stats.accepted)) <= 0.02 * int(cpu.stats.accepted)


@on_gpu
@pytest.mark.parametrize("name", networks())
def test_every_network_of_continuous_depth_runs_on_cuda(name):
    net, call = networks("cuda")[name]
    out = call()
    assert out.device.type == "cuda"
    assert bool(torch.isfinite(out).all())
    out.sum().backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in net.parameters())


@on_gpu
def test_events_are_found_on_cuda():
    x0 = torch.tensor([[1.0, 0.0], [2.0, 0.0]], dtype=torch.float64, device="cuda")
    fall = ob.Event(lambda t, x: x[:, 0], terminal=True)
    sol = ob.integrate(lambda t, x: torch.stack([x[:, 1], -torch.ones_like(t)], 1), x0, (0.0, 5.0), events=[fall], rtol=1e-8)
    assert torch.allclose(sol.t1.cpu(), torch.tensor([2.0**0.5, 2.0], dtype=torch.float64), rtol=1e-6)


@on_gpu
def test_a_profile_is_taken_on_cuda():
    net = ob.nets.resnet(8, controller="se", in_channels=1, classes=10, width=8).to("cuda")
    seen = ob.metrics.profile(net, torch.randn(4, 1, 8, 8, device="cuda"))
    assert seen.nsi.device.type == "cpu"
    assert bool(torch.isfinite(seen.nsi).all())


@on_gpu
@pytest.mark.parametrize("how", [{"precision": "bf16"}, {"precision": "fp16"}, {"channels_last": True}, {"ema": 0.9}])
def test_a_network_trains_on_cuda_in_every_precision(how):
    net = ob.nets.resnet(8, controller="se", in_channels=1, classes=10, width=8)
    history = ob.train.fit(net, ob.data.digits(), epochs=2, device="cuda", seed=0, **how)
    assert history.ended == "done"
    assert history.test_accuracy[-1] > 0.5


@on_gpu
def test_a_network_trains_on_cuda():
    data = ob.data.digits()
    net = ob.nets.resnet(8, controller="stepnet", in_channels=1, classes=10, width=8)
    history = ob.train.fit(net, data, epochs=6, device="cuda", seed=0)
    assert history.test_accuracy[-1] > 0.8
