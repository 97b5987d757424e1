"""compile=True on a card that cannot: libraries that fail as NVRTC and the driver do, and the eager loop with the sentence."""

import warnings

import pytest
import torch
from emulated import Emulated

import odebridge as ob
from odebridge.integrate.engine import build, card, nvrtc, refuse
from odebridge.integrate.engine.cuda import Cuda


class Stand:
    """A library whose functions return 0, or the code that is given for them."""

    def __init__(self, codes, words=b"", blocks=4):
        self.codes, self.words, self.blocks = codes, words, blocks
        self.nvrtcGetErrorString = lambda _: words
        self.called = []

    def __getattr__(self, name):
        def function(*given):
            self.called.append(name)
            if name.endswith("Size"):
                given[-1]._obj.value = len(self.words) + 1
            elif name in ("nvrtcGetProgramLog", "nvrtcGetCUBIN"):
                given[-1].value = self.words
            elif name == "cuGetErrorString":
                given[-1]._obj.value = self.words
            elif name in ("cuOccupancyMaxActiveBlocksPerMultiprocessor", "cuDeviceGetAttribute"):
                given[0]._obj.value = self.blocks
            return self.codes.get(name, 0)

        return function


@pytest.fixture
def carded(monkeypatch, tmp_path):
    """Tensors on the CPU go to `Card`, with these libraries."""

    def install(compiler, driver):
        monkeypatch.setitem(refuse.LAUNCHERS, "cpu", card.Card)
        monkeypatch.setattr(card.Card, "_stream", lambda _: 0)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
        monkeypatch.setattr(nvrtc, "nvrtc", lambda: compiler)
        monkeypatch.setattr(card, "cuda", lambda: driver)
        monkeypatch.setenv("ODEBRIDGE_CACHE", str(tmp_path))

    return install


def field(_t, x):
    return -1.5 * x


def told(match):
    """The eager answer to the bit, and one warning with the reason."""
    x0 = torch.linspace(0.5, 2, 5, dtype=torch.float64)[:, None]
    with pytest.warns(RuntimeWarning, match=f"runs in the eager loop, since .*{match}") as caught:
        sol = ob.integrate(field, x0, (0.0, 1.0), compile=True)
    assert len(caught) == 1
    assert torch.equal(sol.x1, ob.integrate(field, x0, (0.0, 1.0)).x1)


@pytest.mark.parametrize(
    ("codes", "words", "match"),
    [
        ({"nvrtcCreateProgram": 1}, b"out of memory", r"NVRTC failed to take the kernel \(out of memory\)"),
        ({"nvrtcCompileProgram": 6}, b"kernel.cu(3): error: no such name", r"NVRTC refused the kernel \(.*no such name"),
        ({"nvrtcGetCUBIN": 4}, b"invalid", r"NVRTC failed to hand over CUBIN \(invalid\)"),
    ],
)
def test_a_compiler_that_fails_is_told(carded, codes, words, match):
    library = Stand(codes, words)
    carded(nvrtc.Nvrtc(library, (13, 0)), Cuda(Stand({})))
    told(match)
    assert "nvrtcCreateProgram" in library.called
    assert ("nvrtcDestroyProgram" in library.called) == ("nvrtcCreateProgram" not in codes)


@pytest.mark.parametrize(
    ("name", "doing"),
    [
        ("cuInit", "to start"),
        ("cuDevicePrimaryCtxRetain", "to hold the context"),
        ("cuCtxPushCurrent_v2", "to enter the context"),
        ("cuModuleLoadData", "to load the kernel"),
        ("cuModuleGetFunction", "to find the kernel's function"),
        ("cuLaunchKernel", "to launch the kernel"),
    ],
)
def test_a_driver_that_fails_is_told(carded, name, doing):
    library = Stand({name: 2}, b"out of memory")
    carded(nvrtc.Nvrtc(Stand({}), (13, 0)), Cuda(library))
    told(rf"the CUDA driver failed {doing}.*\(out of memory, code 2\)")
    pushed, popped = (library.called.count(f"cuCtx{w}Current_v2") for w in ("Push", "Pop"))
    assert popped == pushed - (name == "cuCtxPushCurrent_v2")  # the thread's context is again what it was


def test_no_room_no_driver_and_no_compiler_are_told(carded):
    compiler = nvrtc.Nvrtc(Stand({}), (13, 0))
    carded(compiler, Cuda(Stand({}, blocks=0)))
    told("the kernel needs more of the card than it has")
    carded(compiler, Cuda(None, "the CUDA driver (libcuda) cannot be loaded"))
    told(r"the CUDA driver \(libcuda\) cannot be loaded")
    carded(None, Cuda(Stand({})))
    told("NVRTC, the CUDA compiler that comes with PyTorch for CUDA, is not found")


@pytest.mark.skipif(build.compiler() is None, reason="no C++ compiler")
@pytest.mark.parametrize("launcher", [refuse.LAUNCHERS["cpu"], Emulated])
def test_nothing_is_made_on_the_default_device(monkeypatch, tmp_path, launcher):
    monkeypatch.setenv("ODEBRIDGE_CACHE", str(tmp_path))
    monkeypatch.setitem(refuse.LAUNCHERS, "cpu", launcher)
    x0 = torch.linspace(0.5, 2, 5, dtype=torch.float64)[:, None]
    options = dict(args=x0.clone(), method="rodas5p", save=ob.At(torch.linspace(0, 1, 5)))
    expected = ob.integrate(lambda t, x, k: -k * x, x0, (0.0, 1.0), **options).xs
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        sol = ob.integrate(lambda t, x, k: -k * x, x0, (0.0, 1.0), compile=True, **options)
    assert torch.allclose(sol.xs, expected, rtol=1e-12)
