"""Tests that need a compiled kernel, and why there is none here; no tests of its own."""

from __future__ import annotations

import pytest
import torch

from odebridge.integrate.engine import build, refuse

OLD = torch.__version__ < refuse.MEASURED
_VERSION = ".".join(map(str, refuse.MEASURED))
WHY = f"kernels need torch {_VERSION}" if OLD else "no C++ compiler" if build.compiler() is None else None
needs_kernels = pytest.mark.skipif(WHY is not None, reason=str(WHY))


def fallback(error: BaseException) -> bool:
    """Whether a test has ended by the warning that the eager loop runs instead, on a torch older than kernels take."""
    return OLD and isinstance(error, RuntimeWarning) and str(error).startswith("compile=True") and "is older than" in str(error)
