"""Memory that has run out, told from other errors."""

from __future__ import annotations

import torch

WORDS = ("allocate memory", "Storage size calculation overflowed")


def out_of_memory(error: BaseException) -> bool:
    """Is it the machine's or the GPU's memory that has run out: PyTorch says so in a class on CUDA, in words on the CPU."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(words in str(error) for words in WORDS)
