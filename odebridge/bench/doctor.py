"""What a newcomer's machine has: versions, devices, dtypes, peers, data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from odebridge.bench.environment import cores, cpu_model, versions
from odebridge.data import IMAGES
from odebridge.peers.catalogue import PEERS

PACKAGES = ("odebridge", "torch", "torchdiffeq", "numpy", "scipy", "matplotlib", "scikit-learn")


def diagnosis() -> list[tuple[str, str]]:
    """Pairs of what was looked for and what was found."""
    cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    devices = ["cpu", *(f"cuda:{i}" for i in range(len(cards)))]
    return [
        ("versions", ", ".join(f"{name} {version}" for name, version in versions(PACKAGES).items())),
        ("cpu", f"{cpu_model()}; {cores()} cores usable, PyTorch on {torch.get_num_threads()} threads"),
        ("cuda", ", ".join(cards) or "no device"),
        *((f"dtypes, {device}", ", ".join(_dtypes(device)) or "none works") for device in devices),
        *((name, f"found, {peer.version}" if peer.version else "not installed") for name, peer in PEERS.items()),
        *((f"data, {name}", _found(read_set)) for name, read_set in IMAGES.items()),
    ]


def _dtypes(device: str) -> list[str]:
    """The floating dtypes in which the device adds."""
    working = []
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        try:
            torch.ones(2, dtype=dtype, device=device).add(1).sum().item()
        except (RuntimeError, TypeError):
            continue
        working.append(str(dtype).removeprefix("torch."))
    return working


def _found(read_set: Callable[[], Any]) -> str:
    try:
        images = read_set()
    except (OSError, ValueError) as error:
        return str(error)
    return f"found, {len(images.train_x)} training and {len(images.test_x)} test images"
