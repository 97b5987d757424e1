"""Memory that has run out, told from other errors."""

from __future__ import annotations

import torch


def out_of_memory(error: BaseException) -> bool:
    """Is it the machine's or the GPU's memory that has run out: PyTorch says so in a class on CUDA, in words on the CPU."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(error)
