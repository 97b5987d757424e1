"""Trains a small residual network with BatchNorm; started alone or by torchrun, see test_parallel.py.

Arguments: batch size of a process, file, seeds.
"""

import sys

import torch

from odebridge.data import digits
from odebridge.nets import resnet
from odebridge.train import fit
from odebridge.train.parallel import launched


def main(batch_size: int, path: str, seeds: list[int]) -> None:
    torch.set_num_threads(1)
    data, scores = digits(), []
    with launched("cpu") as (world, device):
        for seed in seeds:
            torch.manual_seed(seed)
            net = resnet(8, "se", 1, 10, 8)
            scores.append(fit(net, data, epochs=4, batch_size=batch_size, lr=0.1, device=device, seed=seed).test_accuracy[-1])
        if world.rank == 0:
            torch.save(scores, path)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], [int(s) for s in sys.argv[3:]])
