"""Everything is made on the device of x0. On the CPU this is seen by making every other default device unusable."""

import pytest
import torch
from selection import dear

import odebridge as ob
from odebridge.methods import METHODS
from odebridge.nets import node

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


def networks():
    """One of each kind of `odebridge.nets.node`, with a call of it: made before, called where nothing may be made elsewhere."""
    x, lin = torch.randn(4, 2), torch.nn.Linear
    times, values = torch.tensor([0.0, 0.3, 1.0]), torch.randn(4, 3, 2)
    mask = torch.rand(4, 3, 2) < 0.5
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
    u0 = torch.rand(4, 2, dtype=torch.float64)
    calls["stiff"] = (stiff, lambda: stiff.path(u0, times))
    return calls


@pytest.mark.parametrize("name", networks())
def test_no_network_makes_a_tensor_on_a_default_device(name):
    net, call = networks()[name]
    with torch.device("meta"):
        out = call()
    assert bool(torch.isfinite(out).all())
    out.sum().backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in net.parameters())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("method", dear(ADAPTIVE))
@pytest.mark.parametrize("save", SAVES, ids=lambda s: type(s).__name__)
def test_cuda_gives_the_same_answer(method, save):
    cpu, gpu = solved("cpu", method, save)[1], solved("cuda", method, save, grad=True)[1]
    assert gpu.x1.device.type == "cuda"
    assert torch.allclose(cpu.x1, gpu.x1.cpu(), rtol=1e-9)
    assert torch.equal(cpu.stats.accepted, gpu.stats.accepted.cpu())
    gpu.x1.sum().backward()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_network_trains_on_cuda():
    data = ob.data.digits()
    net = ob.nets.resnet(8, controller="stepnet", in_channels=1, classes=10, width=8)
    history = ob.train.fit(net, data, epochs=3, device="cuda", seed=0)
    assert history.epochs[-1].test_accuracy > 0.8
