"""Several processes that train one model, as `torchrun` starts them: each has its part of every batch."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class World:
    """Which process of how many this is."""

    rank: int = 0
    size: int = 1

    def mine(self, pick: Int[Tensor, " k"]) -> Int[Tensor, " m"]:
        """The part of a batch that is this process' own: every size-th sample."""
        return pick if self.size == 1 else pick[self.rank :: self.size]

    def mean(self, value: Tensor) -> Tensor:
        """The mean over the processes, the same on all."""
        if self.size == 1:
            return value
        value = value.clone()
        dist.all_reduce(value)
        return value / self.size

    def first(self, value: float) -> float:
        """What the first process has, on all; the others' value is not looked at."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]

    def shared(self, model: nn.Module) -> nn.Module:
        """The model as it is called: gradients are averaged over the processes in the backward pass."""
        return model if self.size == 1 else DistributedDataParallel(model)


def world() -> World:
    """The processes that are joined now, through torch.distributed; one where there are none."""
    joined = dist.is_available() and dist.is_initialized()
    return World(dist.get_rank(), dist.get_world_size()) if joined else World()


@contextmanager
def launched(device: str) -> Generator[tuple[World, str]]:
    """Join the processes that torchrun has started, by NCCL on GPUs and Gloo on CPUs; yields the world and this one's device.

    Alone, or joined already, nothing is done. Use: `with launched("cuda") as (world, device): fit(net, data, device=device)`.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or world().size > 1:
        yield world(), device
        return
    on_gpu = device.startswith("cuda")
    device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if on_gpu else device
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield world(), device
    finally:
        dist.destroy_process_group()
