"""The functions that kernels stand on, in the headers of both devices, are those of PyTorch for NaN and infinities too."""

import ctypes

import pytest
import torch

from odebridge.integrate.engine import build
from odebridge.integrate.engine.text import HEADERS, header

PAIR = {"vmax": torch.maximum, "vmin": torch.minimum}
ONE = {"vsign": torch.sign, "vabs": torch.abs, "vsqrt": torch.sqrt}
LOOP = """
extern "C" void run(const double *a, const double *b, double *out, int64_t count) {{
  for (int64_t i = 0; i < count; i++) {{
    V x = vd(0.0), y = vd(0.0);
    x[0] = a[i], y[0] = b[i];
    {body}
  }}
}}
"""


@pytest.mark.skipif(build.compiler() is None, reason="no C++ compiler")
@pytest.mark.parametrize(("target", "defined"), [("cpu", "-DW=8"), ("cuda", "-DHOST")])
def test_numbers_are_those_of_pytorch(monkeypatch, tmp_path, target, defined):
    monkeypatch.setenv("ODEBRIDGE_CACHE", str(tmp_path))
    special = [0.0, -0.0, 1.0, -1.0, 5e-324, -1e308, torch.inf, -torch.inf, torch.nan]
    some = torch.cat([torch.tensor(special), torch.randn(20, generator=torch.Generator().manual_seed(0))]).double()
    a, b = (v.reshape(-1).contiguous() for v in torch.meshgrid(some, some, indexing="ij"))
    calls = [f"{name}(x, y)" for name in PAIR] + [f"{name}(x)" for name in ONE]
    body = " ".join(f"out[i * {len(calls)} + {k}] = (double)V({call})[0];" for k, call in enumerate(calls))
    text = "\n".join([*map(header, HEADERS[target]), LOOP.format(body=body)])
    run = build.built(text, defined)
    run.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int64]
    out = torch.empty(len(a), len(calls), dtype=torch.float64)
    run(a.data_ptr(), b.data_ptr(), out.data_ptr(), len(a))
    expected = torch.stack([f(a, b) for f in PAIR.values()] + [f(a) for f in ONE.values()], 1)
    assert torch.allclose(out, expected, rtol=1e-15, atol=0.0, equal_nan=True)
