"""compile=True on a GPU: the CUDA text of kernels on the CPU, under NVRTC without a card, and on a card (`-m gpu`)."""

import warnings

import pytest
import torch
from emulated import Emulated

import odebridge as ob
from odebridge.control import CONTROLLERS
from odebridge.core.result import Result
from odebridge.integrate.engine import build, nvrtc, refuse
from odebridge.methods import METHODS
from odebridge.methods.dirk import Dirk
from odebridge.methods.explicit_rk import ExplicitRK
from odebridge.methods.rosenbrock import Rosenbrock

COMPILED = [m for m, v in METHODS.items() if isinstance(v, (ExplicitRK, Rosenbrock, Dirk)) and v.error_order is not None]
FAST = {"tsit5", "rodas5p", "kvaerno5"}
NEEDS = pytest.mark.skipif(build.compiler() is None, reason="no C++ compiler")
COUNTS = ("accepted", "rejected", "f_evals", "jacobians", "factorisations", "solves", "newton_iterations")


@pytest.fixture(scope="session", autouse=True)
def kernels(tmp_path_factory):
    """Kernels of these tests are made anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ODEBRIDGE_CACHE", str(tmp_path_factory.mktemp("kernels")))
        yield


@pytest.fixture
def emulated(monkeypatch):
    """Tensors on the CPU take the way of those on a card."""
    monkeypatch.setitem(refuse.LAUNCHERS, "cpu", Emulated)


def oscillator(t, x, mu):
    a, b = x.unbind(-1)
    return torch.stack([b, mu * (1 - a * a) * b - a + 0.1 * t], -1)


def start(b, dtype=torch.float64, device="cpu"):
    return torch.stack([torch.linspace(0.5, 2, b), torch.zeros(b)], -1).to(device, dtype), torch.linspace(1, 9, b).to(
        device, dtype
    )


def compiled(field, x0, over, **options):
    """The solve by a kernel: no warning says that it is not."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        return ob.integrate(field, x0, over, compile=True, **options)


def alike(a, b, rtol=1e-9, atol=1e-9):
    assert torch.allclose(a.cpu(), b.cpu(), rtol=rtol, atol=atol, equal_nan=True), (a.cpu() - b.cpu()).abs().nan_to_num().max()


def same_counts(a, b, share=0.0):
    for name in COUNTS:
        mine, others = (getattr(s.stats, name).cpu().double().sum() for s in (a, b))
        assert abs(mine - others) <= share * others, name


@NEEDS
@pytest.mark.parametrize("method", [m if m in FAST else pytest.param(m, marks=pytest.mark.slow) for m in COMPILED])
def test_the_text_for_cuda_gives_the_eager_answer(emulated, method):
    x0, mu = start(5)
    options = dict(args=mu, method=method, rtol=1e-6, atol=1e-8, throw=False)
    a, b = compiled(oscillator, x0, (0.0, 4.0), **options), ob.integrate(oscillator, x0, (0.0, 4.0), **options)
    alike(a.x1, b.x1, 1e-7, 1e-8)
    same_counts(a, b)
    if method in FAST:
        times = torch.linspace(0.0, 4.0, 17, dtype=torch.float64)
        for save in (ob.At(times), ob.Every()):
            a, b = (f(oscillator, x0, (0.0, 4.0), save=save, **options) for f in (compiled, ob.integrate))
            alike(a.xs, b.xs, 1e-7, 1e-7)


@NEEDS
def test_the_text_for_cuda_pivots_and_has_single_precision(emulated):
    x0, mu = start(5, torch.float32)
    a = compiled(oscillator, x0, (0.0, 2.0), args=mu, method="rodas5p", rtol=1e-4, atol=1e-6)
    b = ob.integrate(oscillator, x0, (0.0, 2.0), args=mu, method="rodas5p", rtol=1e-4, atol=1e-6)
    assert a.x1.dtype == torch.float32
    alike(a.x1, b.x1, 1e-3, 1e-3)
    turn = torch.tensor([[0.0, 40.0, 1.0], [-40.0, 0.0, 2.0], [3.0, -1.0, -1.0]], dtype=torch.float64)
    x0 = torch.linspace(0.1, 1.0, 15, dtype=torch.float64).reshape(5, 3)
    for method in ("rodas5p", "kvaerno3"):  # off the diagonal the entries are large at long steps
        options = dict(method=method, rtol=1e-3, atol=1e-6)
        a, b = (f(lambda t, x: x @ turn.T, x0, (0.0, 0.5), **options) for f in (compiled, ob.integrate))
        alike(a.x1, b.x1, 1e-8, 1e-8)
        same_counts(a, b)


def codes(t, x, kind):
    a = x[:, 0]
    poisoned = torch.where(t > 0.5, torch.nan, 1.0 + 0.0 * a)
    many = 1e3 * torch.cos(1e3 * t)
    return torch.where(kind == 1, a * a, torch.where(kind == 2, poisoned, torch.where(kind == 3, many, -a)))[:, None]


@NEEDS
def test_codes_belong_to_their_trajectory_whoever_takes_the_place(emulated):
    kind, x0 = torch.tensor([0.0, 1.0, 2.0, 3.0, 0.0] * 20), torch.ones(100, 1, dtype=torch.float64)
    options = dict(args=kind, method="tsit5", rtol=1e-6, max_steps=300, throw=False)
    a, b = compiled(codes, x0, (0.0, 2.0), **options), ob.integrate(codes, x0, (0.0, 2.0), **options)
    assert torch.equal(a.result, b.result)
    assert {Result(int(c)) for c in a.result} >= {Result.OK, Result.NOT_FINITE, Result.MAX_STEPS}
    alike(a.x1, b.x1)


@pytest.mark.parametrize("method", ["tsit5", "rodas5p", "kvaerno5"])
@pytest.mark.skipif(nvrtc.nvrtc() is None, reason="no NVRTC")
def test_nvrtc_takes_the_text(emulated, monkeypatch, method):
    texts = []
    monkeypatch.setattr(Emulated, "_made", lambda self, kernel: texts.append(kernel.source.text("cuda")))
    monkeypatch.setattr(Emulated, "run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    x0, mu = start(5)
    with pytest.raises(KeyboardInterrupt):
        ob.integrate(lambda t, x, m: oscillator(t, x, m).sin(), x0, (0.0, 1.0), args=mu, method=method, compile=True)
    for arch in ("sm_80", "sm_90"):
        assert nvrtc.cubin(texts[0], arch, "-DBLOCK=32")[:4] == b"\x7fELF"


gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def on_a_card(test):
    for mark in gpu:
        test = mark(test)
    return test


@on_a_card
@pytest.mark.parametrize("method", COMPILED)
def test_every_method_on_a_card(method):
    loose = method in ("rosenbrock23", "tr_bdf2")  # which tell, where it is tight, that their errors add up
    options = dict(method=method, rtol=1e-4 if loose else 1e-6, atol=1e-6 if loose else 1e-8, throw=False)
    x0, mu = start(9)
    b = ob.integrate(oscillator, x0, (0.0, 4.0), args=mu, **options)
    a = compiled(oscillator, x0.cuda(), (0.0, 4.0), args=mu.cuda(), **options)
    assert a.x1.device.type == "cuda"
    alike(a.x1, b.x1, 1e-7, 1e-8)
    same_counts(a, b, 0.01)


@on_a_card
@pytest.mark.parametrize("batch", [1, 3, 1000, 100_000])
@pytest.mark.parametrize("method", ["tsit5", "rodas5p", "kvaerno5"])
def test_batches_of_every_size_on_a_card(method, batch):
    options = dict(method=method, rtol=1e-6, atol=1e-8)
    x0, mu = start(batch)
    a = compiled(oscillator, x0.cuda(), (0.0, 4.0), args=mu.cuda(), **options)
    some = torch.arange(0, batch, max(1, batch // 50))
    b = ob.integrate(oscillator, x0[some], (0.0, 4.0), args=mu[some], **options)
    alike(a.x1[some.cuda()], b.x1)
    assert torch.equal(a.result.cpu(), torch.zeros(batch, dtype=a.result.dtype))
    assert abs(a.stats.accepted.cpu()[some].sum() - b.stats.accepted.sum()) <= 0.01 * b.stats.accepted.sum()


@on_a_card
@pytest.mark.parametrize("method", ["tsit5", "rodas5p", "kvaerno5"])
def test_saves_and_gradients_on_a_card(method):
    x0, mu = start(50)
    options = dict(method=method, rtol=1e-6, atol=1e-8)
    times = torch.linspace(0.0, 4.0, 17, dtype=torch.float64)

    def pair(save):
        b = ob.integrate(oscillator, x0, (0.0, 4.0), args=mu, save=save, **options)
        return compiled(oscillator, x0.cuda(), (0.0, 4.0), args=mu.cuda(), save=save, **options), b

    a, b = pair(ob.At(times))
    alike(a.xs, b.xs, 1e-6, 1e-7)
    a, b = pair(ob.Dense())
    alike(a(times.cuda()), b(times), 1e-6, 1e-7)
    a, b = pair(ob.Every())  # sizes of steps, and so the times, differ by roundings that the law carries on
    assert torch.equal(a.ts.isnan().sum(1).cpu(), b.ts.isnan().sum(1))
    alike(a.x1, b.x1, 1e-6, 1e-7)
    alike(a.ts, b.ts, 1e-4, 1e-4)
    slopes = torch.stack([oscillator(t, x, mu) for t, x in zip(b.ts.T, b.xs.transpose(0, 1), strict=True)], 1)
    apart = slopes.abs() * (a.ts.cpu() - b.ts).abs()[..., None]
    assert ((a.xs.cpu() - b.xs).abs() <= 2 * apart + 1e-6 * b.xs.abs() + 1e-7).logical_or(b.xs.isnan()).all()

    def gradient(device):
        x, m = start(5, device=device)
        m = m.requires_grad_()
        run = compiled if device == "cuda" else ob.integrate
        run(oscillator, x, (0.0, 2.0), args=m, save=ob.At([0.5, 2.0]), **options).xs.square().sum().backward()
        return m.grad

    alike(gradient("cuda"), gradient("cpu"), 1e-6, 1e-7)


@on_a_card
def test_codes_events_time_limits_and_single_precision_on_a_card():
    kind, x0 = torch.tensor([0.0, 1.0, 2.0, 3.0, 0.0] * 20), torch.ones(100, 1, dtype=torch.float64)
    options = dict(method="tsit5", rtol=1e-6, max_steps=300, throw=False)
    a = compiled(codes, x0.cuda(), (0.0, 2.0), args=kind.cuda(), **options)
    b = ob.integrate(codes, x0, (0.0, 2.0), args=kind, **options)
    assert torch.equal(a.result.cpu(), b.result)
    a = compiled(lambda t, x: x * x, x0.cuda(), (0.0, 3.0), method="rosenbrock23", rtol=1e-4, throw=False)
    b = ob.integrate(lambda t, x: x * x, x0, (0.0, 3.0), method="rosenbrock23", rtol=1e-4, throw=False)
    assert torch.equal(a.result.cpu(), b.result)
    x0, mu = start(50)
    event = ob.Event(lambda t, x: x[:, 0], direction=-1)
    a = compiled(oscillator, x0.cuda(), (0.0, 9.0), args=mu.cuda(), method="tsit5", events=event)
    b = ob.integrate(oscillator, x0, (0.0, 9.0), args=mu, method="tsit5", events=event)
    alike(a.t1, b.t1, 1e-6, 1e-7)
    x0, mu = start(500, torch.float32)
    a = compiled(oscillator, x0.cuda(), (0.0, 2.0), args=mu.cuda(), method="rodas5p", rtol=1e-4, atol=1e-6)
    b = ob.integrate(oscillator, x0, (0.0, 2.0), args=mu, method="rodas5p", rtol=1e-4, atol=1e-6)
    alike(a.x1, b.x1, 1e-3, 1e-3)
    w = torch.tensor([1.0] * 5 + [1e9], dtype=torch.float64, device="cuda")
    field = lambda t, x, w: torch.stack([x[:, 1] * w, -x[:, 0] * w], -1)  # noqa: E731
    options = dict(args=w, method="dopri5", rtol=1e-8, throw=False, time_limit=0.5, max_steps=10**9)
    sol = compiled(field, torch.ones(6, 2, dtype=torch.float64, device="cuda"), (0.0, 1.0), **options)
    assert sol.result.tolist() == [Result.OK] * 5 + [Result.TIME_LIMIT]


@on_a_card
@pytest.mark.parametrize("law", [c for c in CONTROLLERS if c != "fixed"])
def test_laws_on_a_card(law):
    x0, mu = start(9)
    options = dict(method="dopri5", controller=law, rtol=1e-5)
    a = compiled(oscillator, x0.cuda(), (0.0, 4.0), args=mu.cuda(), **options)
    b = ob.integrate(oscillator, x0, (0.0, 4.0), args=mu, **options)
    alike(a.x1, b.x1, 1e-7, 1e-8)
    same_counts(a, b, 0.01)


@on_a_card
def test_modules_and_captured_tensors_on_a_card():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).double().requires_grad_(False)
    x0, _ = start(30)
    index, w = torch.tensor([1]), torch.tensor([2.0, 4.0], dtype=torch.float64)
    b = ob.integrate(lambda t, x: net(x) - w[index] * x, x0, (0.0, 1.0), method="rodas5p", rtol=1e-6, atol=1e-8)
    net, index, w = net.cuda(), index.cuda(), w.cuda()
    a = compiled(lambda t, x: net(x) - w[index] * x, x0.cuda(), (0.0, 1.0), method="rodas5p", rtol=1e-6, atol=1e-8)
    alike(a.x1, b.x1, 1e-7, 1e-8)
